"""Where SAEs belong: sites by name, compared as published metadata spell them, and SAEs shared out among them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, assert_never

from saebench_lite.errors import SaebenchError
from saebench_lite.loading import spec as spec_module
from saebench_lite.models.token_rule import Positions
from saebench_lite.names import ELSEWHERE, read_hook_name, read_model_name

ALIASES = {"gpt2-small": "gpt2"}
"TransformerLens' names of models, as SAELens writes them, that differ from the hub's by more than their owner."
BLOCK = r"(?:^|.*\.)(?:layers|layer|h|blocks)\.(\d+)"
MODULE = re.compile(BLOCK + r"(?:\.(mlp|attn|attention|self_attn))?")


class Site(NamedTuple):
    """A hook point of a model, by name."""

    model: str
    hook: str


class Placed(NamedTuple):
    """An SAE spec and the site that it names itself, None where it names none."""

    spec: str
    model: str | None = None
    hook: str | None = None


def split_spec(spec: str) -> Placed:
    """Takes `#model=M,hook=H` (either or both) off the end of an SAE spec.

    The first such `#` begins it, unless what stands before a later one, or the whole, is a path that exists.
    """
    ends = [match.start() for match in re.finditer(r"#(?:model|hook)=", spec)]
    if not ends or _names_path(spec):
        return Placed(spec)
    end = next((i for i in reversed(ends) if _names_path(spec[:i])), ends[0])
    told: dict[str, str] = {}
    for part in spec[end + 1 :].split(","):
        key, equals, value = part.partition("=")
        if key not in ("model", "hook") or not (equals and value):
            raise SaebenchError(f"SAE spec {spec!r} ends in {part!r}; write #hook=H, #model=M or #model=M,hook=H")
        told[key] = value
    return Placed(spec[:end], told.get("model"), told.get("hook"))


def _names_path(spec: str) -> bool:
    """Whether something lies where an SAE spec says."""
    try:
        return spec_module.is_path(spec_module.parse(spec).where)
    except SaebenchError:  # one that cannot be parsed
        return False


def same_model(a: str, b: str) -> bool:
    """Whether two names mean one model: owner and letter case do not count, fresh weights do."""
    return _model(a) == _model(b)


def same_hook(asked: str, told: str) -> bool:
    """Whether a run's hook is the one that metadata tell.

    The residual stream after block N is the one before block N + 1, and a block's module path is its output. A module
    path whose meaning is not known is taken for what the metadata tell if it lies in the same block.
    """
    place, other = _place(asked), _place(told)
    if place is not None or asked.lower() == told.lower():
        return place == other or asked.lower() == told.lower()
    layer, told_layer = (re.search(r"\d+", name) for name in (asked, told))
    return layer is not None and told_layer is not None and int(layer[0]) == int(told_layer[0])


def mismatch(meta: Mapping[str, object], site: Site) -> str | None:
    """Why an SAE with these facts does not belong to a site, in one sentence; None where nothing tells against it."""
    if (named := named_elsewhere(meta, site)) is None:
        return None
    return f"{named}; run it there, or add --force-site to score it here all the same"


def named_elsewhere(meta: Mapping[str, object], site: Site) -> str | None:
    """`its own metadata name hook 'A' and not 'B'`; None where they name the site or nothing."""
    model, hook = meta.get("model"), meta.get("hook")
    wrong = []
    if isinstance(model, str) and not same_model(site.model, model):
        wrong.append(f"model {model!r} and not {site.model!r}")
    if isinstance(hook, str) and not same_hook(site.hook, hook):
        wrong.append(f"hook {hook!r} and not {site.hook!r}")
    return f"{ELSEWHERE} {' and '.join(wrong)}" if wrong else None


def other_rule(meta: Mapping[str, object], positions: Positions) -> str | None:
    """How an SAE with these facts was trained on other tokens than the site reads; None where nothing tells so."""
    rule, bos = meta.get("token_rule"), meta.get("prepend_bos")
    if isinstance(rule, str) and rule != positions.code:
        return f"{ELSEWHERE} the token rule {rule!r}, and the site's is {positions.code!r}"
    if bos is True and positions.front is None:
        return "its own metadata say that BOS was prepended, and no text of the site begins with one; add --bos prepend"
    if bos is False and positions.front is not None:
        return (
            f"its own metadata say that no BOS was prepended, and the texts of the site begin with {positions.front!r};"
            " add --bos none, or --bos as-is where the tokenizer adds none"
        )
    return None


def share_out(
    specs: Sequence[str], sites: Sequence[Site], facts: Callable[[str], Mapping[str, object] | None]
) -> dict[Site, list[str]]:
    """Which SAE specs are scored at which site.

    An SAE goes to the sites that its spec names, else to those that its metadata (`facts(spec)`) do not contradict. One
    that belongs nowhere, or cannot be read (facts None), goes to the first site, to fail there. SaebenchError for a
    spec that names a site which is not run.
    """
    shares: dict[Site, list[str]] = {site: [] for site in sites}
    for item in specs:
        placed = split_spec(item)
        fitting = list(sites)
        if placed.model or placed.hook:
            fitting = [s for s in sites if _names(placed, s)]
            if not fitting:
                listed = ", ".join(f"{s.hook} of {s.model}" for s in sites)
                raise SaebenchError(f"SAE spec {item!r} names a site that is not run; there are {listed}")
        elif len(sites) > 1:
            told = facts(placed.spec)
            fitting = [] if told is None else [s for s in sites if mismatch(told, s) is None]
        for site in fitting or sites[:1]:
            shares[site].append(placed.spec)
    return shares


def _names(placed: Placed, site: Site) -> bool:
    model = placed.model is None or same_model(site.model, placed.model)
    return model and (placed.hook is None or same_hook(site.hook, placed.hook))


def _model(name: str) -> tuple[bool, str]:
    parsed = read_model_name(name.strip())
    last = parsed.base.rstrip("/").split("/")[-1].lower()
    return parsed.kind == "random", ALIASES.get(last, last)


def _place(hook: str) -> tuple[str, int] | None:
    """(kind, number) of a hook with a known meaning: stream N is what block N reads."""
    name = hook.strip().lower()
    if read := read_hook_name(name):
        match read.kind:
            case "resid_pre" | "resid_post":
                return "stream", read.layer + (read.kind == "resid_post")
            case "attn_out" | "mlp_out":
                return read.kind.removesuffix("_out"), read.layer
            case _:
                assert_never(read.kind)
    if match := MODULE.fullmatch(name):
        if match[2] is None:
            return "stream", int(match[1]) + 1
        return ("mlp" if match[2] == "mlp" else "attn"), int(match[1])
    return None
