"""Rooms: who may import whom. Each folder states its rule in its `__init__`; everything here is read off the tree."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "saebench_lite"
MODULES = sorted(p for p in PACKAGE.rglob("*.py") if "bundled" not in p.parts or p.name == "__init__.py")
MODULES += [p for name in ("tasks", "baselines") for p in sorted((ROOT / name).glob("*.py"))]
MODULES = [p for p in dict.fromkeys(MODULES) if not any(q.is_symlink() for q in (p, *p.parents))]
NO_TORCH = ("stats", "data", "records", "report")
ONLY_IN = {"transformers": ("models", "recipes"), "datasets": ("sources",), "typer": ("cli",), "rich": ("progress",)}
"The one or two rooms that may import a library (recipes.pico trains a model)."
FLOORS, ROOMS, LINES, FUNCTION_LINES = 9, 30, 300, 60


def module_name(path: Path) -> str:
    parts = list(path.relative_to(ROOT).with_suffix("").parts)
    parts = parts if parts[0] == "saebench_lite" else ["saebench_lite", *parts]
    return ".".join(parts).removesuffix(".__init__")


NAMES = {module_name(p): p for p in MODULES}


def room(module: str) -> str:
    """The folder below the package that a module lies in, or the module itself at the top."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else parts[0]


@cache
def imported(path: Path, at_top: bool = False) -> frozenset[str]:
    """Modules that a file imports, anywhere or (`at_top`) when it is imported itself."""
    tree = ast.parse(path.read_text())
    nodes = ast.iter_child_nodes(tree) if at_top else ast.walk(tree)
    found: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                found.add(whole if whole in NAMES else str(node.module))
    return frozenset(found)


def own(path: Path) -> set[str]:
    """Modules of the suite that a file imports, itself left out."""
    return {m for m in imported(path) if m in NAMES} - {module_name(path)}


def arrows() -> dict[str, set[str]]:
    """room -> rooms it imports from. The package's own `__init__` only names what others may ask for."""
    out: dict[str, set[str]] = {room(name): set() for name in NAMES if name != "saebench_lite"}
    for name, path in NAMES.items():
        if name != "saebench_lite":
            out[room(name)] |= {room(m) for m in own(path) if m != "saebench_lite"} - {room(name)}
    return out


def floors(graph: dict[str, set[str]]) -> dict[str, int]:
    """Height of each node above what it depends on; AssertionError where there is a circle."""
    height: dict[str, int] = {}

    def climb(node: str, path: tuple[str, ...] = ()) -> int:
        assert node not in path, f"circle: {' -> '.join([*path, node])}"
        if node not in height:
            height[node] = 1 + max((climb(n, (*path, node)) for n in graph[node]), default=0)
        return height[node]

    for node in graph:
        climb(node)
    return height


def test_rooms_and_floors():
    graph = arrows()
    assert len(graph) <= ROOMS
    assert max(floors(graph).values()) <= FLOORS


def test_no_circle_among_files():
    floors({name: own(path) - {"saebench_lite"} for name, path in NAMES.items() if name != "saebench_lite"})


@pytest.mark.parametrize("name", sorted(n for n, others in arrows().items() if (PACKAGE / n).is_dir()))
def test_a_room_keeps_its_rule(name):
    folder = PACKAGE / name
    doc = ast.get_docstring(ast.parse((folder / "__init__.py").read_text())) or ""
    rule = re.search(r"May import: ([^.]*)\.", doc)
    assert rule, f"{name}/__init__.py states no rule; write 'May import: errors, stats.'"
    if rule[1] == "every room":
        return
    allowed = set(re.split(r",\s*", rule[1])) - {"nothing"}
    used = arrows()[name]
    assert used <= allowed, f"{name} imports {sorted(used - allowed)}, against its rule"
    assert allowed <= set(arrows()), f"{name} may import rooms that do not exist: {sorted(allowed - set(arrows()))}"


@pytest.mark.parametrize("path", MODULES, ids=module_name)
def test_libraries_stay_in_their_rooms(path):
    place, tops = room(module_name(path)), {m.split(".")[0] for m in imported(path)}
    if place in NO_TORCH:
        assert not tops & {"torch", "safetensors", "transformers"}
    for library, rooms in ONLY_IN.items():
        assert library not in tops or place in rooms
    if place not in ("tasks", "baselines"):
        assert not {room(m) for m in own(path)} & {"tasks", "baselines"}


@pytest.mark.parametrize("path", MODULES, ids=module_name)
def test_files_and_functions_are_short(path):
    """A longer one says why: "long: reason" in its docstring."""
    text = path.read_text()
    tree = ast.parse(text)
    assert text.count("\n") <= LINES or "long: " in (ast.get_docstring(tree) or ""), f"{text.count(chr(10))} lines"
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or 0) - node.lineno + 1
            assert lines <= FUNCTION_LINES or "long: " in (ast.get_docstring(node) or ""), f"{node.name}: {lines} lines"


@pytest.mark.parametrize("path", MODULES, ids=module_name)
def test_no_locals_and_no_silenced_type_without_a_reason(path):
    text = path.read_text()
    assert "**locals()" not in text
    for line in text.splitlines():
        if "type: ignore" in line or "pyright: ignore" in line:
            assert re.search(r"ignore\[[^\]]+\]\)?\s*(#|\()", line), f"no reason beside: {line.strip()}"


def public_functions(tree: ast.Module) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Functions and methods without a leading underscore, nested ones included."""
    functions = (n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef))
    return [f for f in functions if not f.name.startswith("_")]


def names_any(annotation: ast.expr) -> bool:
    """Whether `Any` is among an annotation's names, quoted ones included."""
    return any(
        (isinstance(n, ast.Name) and n.id == "Any")
        or (isinstance(n, ast.Attribute) and n.attr == "Any")
        or (isinstance(n, ast.Constant) and isinstance(n.value, str) and re.search(r"\bAny\b", n.value))
        for n in ast.walk(annotation)
    )


@pytest.mark.parametrize("path", MODULES, ids=module_name)
def test_public_signatures_have_types(path):
    """`Any` in a public signature says why: "# Any: reason" on one of its lines."""
    text = path.read_text()
    for function in public_functions(ast.parse(text)):
        a = function.args
        given = [*a.posonlyargs, *a.args, *a.kwonlyargs, *(p for p in (a.vararg, a.kwarg) if p)]
        annotations = [x for x in (*(p.annotation for p in given), function.returns) if x is not None]
        signature = text.splitlines()[function.lineno - 1 : max(function.body[0].lineno - 1, function.lineno)]
        told = any(re.search(r"# Any: \S", line) for line in signature)
        assert told or not any(map(names_any, annotations)), f"{function.name} takes or returns Any; say why"
