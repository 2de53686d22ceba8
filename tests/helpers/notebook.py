"""Runs the code cells of a notebook without a kernel, and says what each would show."""

from __future__ import annotations

import ast
import contextlib
import io
import re
from pathlib import Path
from pprint import pformat

REPRESENTATIONS = {"text/html": "_repr_html_", "text/markdown": "_repr_markdown_"}


def outputs(cells: list[str], folder: Path) -> list[list[dict[str, object]]]:
    """Outputs of code cells in the format of a notebook, run one after another in `folder` in one namespace."""
    names: dict[str, object] = {"__name__": "__main__"}
    out = []
    with contextlib.chdir(folder):
        for number, source in enumerate(cells, start=1):
            tree = ast.parse(source)
            last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
            printed = io.StringIO()
            with contextlib.redirect_stdout(printed):
                exec(compile(tree, f"cell {number}", "exec"), names)
                value = (
                    None if last is None else eval(compile(ast.Expression(last.value), f"cell {number}", "eval"), names)  # type: ignore[union-attr]
                )
            out.append(_shown(value, printed.getvalue(), number))
    return out


def _shown(value: object, printed: str, number: int) -> list[dict[str, object]]:
    """The outputs of one cell."""
    made: list[dict[str, object]] = []
    if printed:
        made.append({"output_type": "stream", "name": "stdout", "text": printed.splitlines(keepends=True)})
    if value is not None:
        data = {"text/plain": pformat(value, sort_dicts=False).splitlines(keepends=True)}
        for kind, method in REPRESENTATIONS.items():
            if (text := getattr(value, method, None)) is not None and text() is not None:
                data[kind] = text().splitlines(keepends=True)
        made.append({"output_type": "execute_result", "execution_count": number, "metadata": {}, "data": data})
    return made


def figures(text: str) -> tuple[str, list[float]]:
    """A text with its decimal fractions blanked out, and those fractions: what another processor may move a little."""
    pattern = r"-?\d+\.\d+"
    return re.sub(rf"\s*{pattern}", " #", text), [float(x) for x in re.findall(pattern, text)]
