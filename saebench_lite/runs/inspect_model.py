"""What a model is to this suite, before anything is run: hooks, tokens, sinks, and the tasks that can run on it."""

from __future__ import annotations

from typing import TypedDict

from saebench_lite import registry
from saebench_lite.api.card import Card
from saebench_lite.errors import SaebenchError
from saebench_lite.models.hook_names import hooks_of
from saebench_lite.models.language_model import LanguageModel
from saebench_lite.models.protocol import Model
from saebench_lite.models.sinks import front
from saebench_lite.models.token_rule import TokenRule
from saebench_lite.models.tokens import vocabulary_words
from saebench_lite.names import AUTO_DEVICE, WORLD_HOOK
from saebench_lite.runs.setup import load_model

WORDS = 60
"Words of one token that a task on words needs at least: 50 to fit on and 10 to test."


class Place(TypedDict):
    """One hook point and the tokens that statistics read there."""

    hook: str
    width: int
    token_rule: str
    "Its code, as records hold it."
    sinks: float
    "Share of a sample's real tokens with a norm over the limit."
    limit: float | None
    "Largest norm of a token that is read; None for no limit."
    finding: str


class ModelReport(TypedDict):
    """All that `inspect_model` finds, in JSON types."""

    model: str
    architecture: str
    parameters: int
    dtype: str
    device: str
    layers: int
    width: int
    vocabulary: int
    context: int
    special: dict[str, int]
    "Text of each special token -> its id."
    tokenizer_adds: str | None
    "The special token that the tokenizer itself puts in front of a text; None for none."
    hooks: list[str]
    "Names of hook points, one entry for those of all blocks."
    modules: int
    "How many modules can be named by their path."
    place: Place
    tasks: dict[str, str]
    "Task -> `runs`, `runs on request`, or why it cannot."


def inspect_model(
    model: str,
    *,
    hook: str | None = None,
    device: str = AUTO_DEVICE,
    dtype: str = "float32",
    rule: TokenRule = TokenRule(),  # noqa: B008  (frozen)
) -> ModelReport:
    """A JSON-ready report on a model, with the norms of a few texts at one hook; SaebenchError if it cannot be loaded.

    Args:
        model: hub id, folder, "pico", "world:NAME" or "random:NAME".
        hook: hook point to look at; by default the residual stream after the middle block.
        device: where the model goes; by default the first CUDA device, or the CPU.
        dtype: of the model.
        rule: what is put in front of texts, and which tokens are left out.
    """
    lm = load_model(model, device, dtype, rule)
    names, modules, architecture, special, adds = [WORLD_HOOK], 0, type(lm).__name__, {}, None
    if isinstance(lm, LanguageModel):
        hooks = hooks_of(lm.net, lm.blocks)
        names = [f"blocks.{{0..{hooks.layers - 1}}}.hook_{kind}" for kind in hooks.kinds]
        modules, architecture = len(hooks.modules), type(lm.net).__name__
        special = {str(lm.tokenizer.convert_ids_to_tokens(i)): i for i in lm.special.tolist()}
        adds = front(lm, TokenRule(bos="as-is")).text
    middle = f"blocks.{lm.n_layers // 2}.hook_resid_post" if isinstance(lm, LanguageModel) else WORLD_HOOK
    return {
        "model": lm.name,
        "architecture": architecture,
        "parameters": lm.parameters,
        "dtype": str(lm.dtype).removeprefix("torch."),
        "device": str(lm.device),
        "layers": lm.n_layers,
        "width": lm.width,
        "vocabulary": lm.vocabulary,
        "context": lm.context,
        "special": special,
        "tokenizer_adds": adds,
        "hooks": names,
        "modules": modules,
        "place": _place(lm, lm.hook_name(middle if hook is None else hook)),
        "tasks": {name: _verdict(name, lm) for name in registry.names("tasks")},
    }


def _place(lm: Model, hook: str) -> Place:
    positions = lm.positions(hook)
    return {
        "hook": hook,
        "width": lm.hook_width(hook),
        "token_rule": positions.code,
        "sinks": positions.sinks,
        "limit": None if positions.limit == float("inf") else positions.limit,
        "finding": positions.finding,
    }


def _verdict(task: str, lm: Model) -> str:
    """Whether a task can run on a model, as far as that can be told without running it."""
    try:
        card: Card = registry.get("tasks", task).card
    except SaebenchError as error:
        return f"cannot run: {error}"
    if card.requires_ground_truth and not lm.planted:
        return "cannot run: the true features must be known, as in --model world:small"
    if card.requires_next_token and not lm.is_causal:
        return f"cannot run: {lm.name} has no next-token head"
    runs = "runs" if card.default else "runs on request"
    if card.requires_words and not lm.planted:
        words = 0 if lm.tokenizer is None else len(vocabulary_words(lm.tokenizer))
        if words < WORDS:
            return f"cannot run: {words} words of the vocabulary are one token, and {WORDS} are needed"
        return f"{runs} if the model's own probes hold the feature ({words} words are one token)"
    return runs


def as_text(report: ModelReport) -> str:
    """The report in lines for a terminal."""
    place = report["place"]
    limit = "no limit" if place["limit"] is None else f"limit {place['limit']:.4g}"
    rows: dict[str, object] = {
        "model": report["model"],
        "architecture": f"{report['architecture']}, {report['parameters']:,} parameters",
        "numbers": f"{report['dtype']} on {report['device']}",
        "layers": report["layers"],
        "width": report["width"],
        "vocabulary": report["vocabulary"],
        "context": f"{report['context']} tokens",
        "special tokens": ", ".join(f"{text!r} {i}" for text, i in report["special"].items()) or "none",
        "tokenizer adds": repr(report["tokenizer_adds"]) if report["tokenizer_adds"] else "nothing in front of a text",
        "hooks": ", ".join(report["hooks"]),
        "modules": f"{report['modules']} more by path" if report["modules"] else "none by path",
        f"at {place['hook']}": "",
        "  width": place["width"],
        "  token rule": place["token_rule"],
        "  norm": f"{limit}; {place['sinks']:.2%} of a sample's tokens are over it",
        "  finding": place["finding"] or "no attention sinks; texts are as the tokenizer gives them",
        "tasks": "",
        **{f"  {name}": verdict for name, verdict in report["tasks"].items()},
    }
    lines = [f"{key:<20} {value}".rstrip() for key, value in rows.items()]
    return "\n".join("".join(c if c.isprintable() else "?" for c in line) for line in lines)
