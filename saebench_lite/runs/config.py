"""Everything that is asked of a run, in one frozen object that a file can hold."""

from __future__ import annotations

import dataclasses
import difflib
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import yaml

from saebench_lite.errors import SaebenchError, kind_of
from saebench_lite.models.token_rule import TokenRule
from saebench_lite.names import AUTO_DEVICE, PICO, PICO_HOOK, read_model_name
from saebench_lite.runs import config_checks as checks
from saebench_lite.runs import profiles
from saebench_lite.runs.sharding import Shard

if TYPE_CHECKING:
    import torch

    from saebench_lite.saes.tensor_cores import Encode

Engine = Literal["local", "ray"]
Dtype = Literal["float32", "bfloat16", "float16"]
EncodeChoice = Literal["auto", "float32", "tf32x3", "bf16"]
WORKERS = 2
"Ray workers of a run that does not say."
MOST_MEMORY = 2**20
"GiB, beyond any machine."
OF_ONE_CALL = ("force", "shard")
"Fields that belong to one call and not to what is measured: never written to a file."


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """What a run scores, on what, how and where to; checked when it is made.

    Lists may be given as one item or any sequence, names of tasks, baselines and SAEs with commas between, paths as
    texts. SaebenchError with one sentence for the first field that cannot be, or for fields in contradiction.
    """

    saes: tuple[str, ...] | None = None
    "SAE specs, `[name=][loader:]where[#model=M,hook=H]`; None: the bundled SAEs, if their site is among those run."
    models: tuple[str, ...] = (PICO,)
    "Hub ids, local folders, `pico`, `world:NAME` or `random:NAME`."
    hooks: tuple[str, ...] = ()
    "Hook points, each read in every model; none for the default one of `pico` and of worlds."
    data: tuple[str, ...] = ("bundled",)
    "Data specs, `source[:where]`, put together."
    text_data: tuple[str, ...] | None = None
    "Data specs of the texts for reconstruction and CE loss; None: those of `data`."
    tasks: tuple[str, ...] | None = None
    "Task names; None: all that the site allows by default."
    baselines: tuple[str, ...] | None = None
    "Names of baselines and controls; None: all that the site allows by default."
    control_of: tuple[str, ...] | None = None
    "SAEs from which controls are derived, or `all`; None: the one with the median L0, random ones one a width and L0."
    seeds: int | tuple[int, ...] = 3
    "How many seeds, from 42 on, or the seeds themselves."
    settings: dict[str, dict[str, Any]] = field(default_factory=dict)
    "{task: {field: value}}, in place of the task's defaults."
    profile: str | None = None
    "Another benchmark's protocol, under `settings`."
    device: str = AUTO_DEVICE
    "Where the models and SAEs run: cpu, cuda, cuda:1, ...; auto: cuda where there is one, else cpu."
    devices: tuple[str, ...] = ()
    "In the place of `device`: a process on each, with its share of the subjects; numbers are those of GPUs."
    dtype: Dtype = "float32"
    "Number type of the models."
    encode: EncodeChoice = "auto"
    "How SAEs are encoded: float32, tf32x3, bf16; auto: tf32x3 on a GPU, else float32 (see `saes.tensor_cores`)."
    bos: str = "auto"
    "What each text begins with: `auto`, `prepend`, `as-is`, `none`, or a token of the vocabulary (see `TokenRule`)."
    leave_out: str = "sinks"
    "Tokens that no statistic reads beside special ones: `sinks` (`sinks:20`), `first` (`first:20`) or `special`."
    memory: float | None = None
    "GiB for pooled tables; more than that is done in blocks. None: 1, on a GPU three tenths of its memory."
    limit: int | None = None
    "Datasets per source at most."
    max_texts: int | None = None
    "Texts of a corpus at most, drawn evenly from its classes and parts."
    context: int | None = None
    "Tokens of a text at most, where data and model allow more."
    out: Path | None = None
    "Results folder, whose records are not computed again; None keeps them in memory."
    cache: Path | None = None
    "Folder of cached activations; None: the user's cache folder."
    force: bool = False
    "Whether to compute again what exists."
    shard: Shard | None = None
    "The share of the work to do, written `i/n`."
    engine: Engine = "local"
    "`local`, or `ray` for one worker a shard."
    workers: int | None = None
    "Ray workers; None: WORKERS."
    jobs: int | None = None
    "Processes of one thread that score subjects side by side on a CPU (Linux); None: one a thread of torch."
    plugins: tuple[str, ...] = ()
    "Importable modules that offer tasks, baselines, loaders or sources."
    force_site: bool = False
    "Whether to score SAEs at sites that their own metadata contradict."

    def __post_init__(self) -> None:
        for name, check in CHECKS.items():
            object.__setattr__(self, name, check(name, getattr(self, name)))
        if not self.hooks and (lacking := [m for m in self.models if read_model_name(m).default_hook is None]):
            raise SaebenchError(f"hook is needed with model {lacking[0]}; for example {PICO_HOOK}")
        if self.devices and (self.shard is not None or self.engine == "ray"):
            raise SaebenchError("devices and shard or engine 'ray' all split the work; give one of them")
        if self.engine == "ray" and self.shard is not None:
            raise SaebenchError(f"shard {self.shard} and engine 'ray' both split the work; give one of them")
        if self.engine == "ray" and self.out is None:
            raise SaebenchError("engine 'ray' has no out; name a folder, for its workers hand over records through it")
        if self.engine == "local" and self.workers is not None:
            raise SaebenchError(f"workers {self.workers} are for engine 'ray', not 'local'; leave one of them out")

    def encode_on(self, device: torch.device) -> Encode:
        """How SAEs are encoded on a device."""
        auto: Encode = "tf32x3" if device.type == "cuda" else "float32"
        return auto if self.encode == "auto" else self.encode

    @property
    def token_rule(self) -> TokenRule:
        """`bos` and `leave_out` together."""
        return TokenRule(bos=self.bos, leave_out=self.leave_out)

    @property
    def sites(self) -> list[tuple[str, str]]:
        """(model, hook) of each site, model by model."""
        pairs = []
        for model in self.models:
            default = read_model_name(model).default_hook
            pairs += [(model, hook) for hook in self.hooks or (default or "",)]
        return pairs

    @classmethod
    def from_file(cls, path: str | Path, **over: Any) -> RunConfig:  # Any: fields of many types, which `CHECKS` knows
        """The configuration in a .yaml, .yml or .toml file, with the fields in `over` in place of the file's.

        `settings` are merged field by field; where `over` names tasks, the file's settings of others are dropped.
        SaebenchError for a file that cannot be read, for unknown keys (with near misses) and for values of the wrong
        type.
        """
        given = _read(Path(path))
        names = [f.name for f in dataclasses.fields(cls)]
        for key, value in given.items():
            if key not in names:
                close = difflib.get_close_matches(str(key), names, n=3, cutoff=0.5)
                hint = f"did you mean {' or '.join(close)}?" if close else f"there are {', '.join(names)}"
                raise SaebenchError(f"{path}: there is no field {key!r}; {hint}")
            try:
                given[key] = CHECKS[key](key, value)
            except SaebenchError as error:
                raise SaebenchError(f"{path}: {error}") from error
        tasks = CHECKS["tasks"]("tasks", over.get("tasks"))
        of_file = given.get("settings", {}).items()
        settings = {task: dict(fields) for task, fields in of_file if tasks is None or task in tasks}
        told = over.get("settings")
        for task, fields in checks.settings("settings", {} if told is None else told).items():
            settings[task] = settings.get(task, {}) | fields
        fields: dict[str, Any] = given | over | {"settings": settings}
        return cls(**fields)

    def to_yaml(self) -> str:
        """The fields that were asked for, as YAML that `from_file` reads back; `OF_ONE_CALL` are left out."""
        asked = {}
        for f in dataclasses.fields(self):
            default = f.default if f.default_factory is dataclasses.MISSING else f.default_factory()
            if f.name not in OF_ONE_CALL and (value := getattr(self, f.name)) != default:
                asked[f.name] = _written(value)
        return yaml.safe_dump(asked, sort_keys=False, allow_unicode=True, width=100)


CHECKS: dict[str, checks.Check[object]] = {
    "saes": checks.optional(checks.texts),
    "models": checks.one_or_more,
    "hooks": checks.texts,
    "data": checks.one_or_more,
    "text_data": checks.optional(checks.one_or_more),
    "tasks": checks.optional(checks.names_there),
    "baselines": checks.optional(checks.names),
    "control_of": checks.optional(checks.names),
    "seeds": checks.seeds,
    "settings": checks.settings,
    "profile": checks.optional(lambda _, name: profiles.profile(name).name),
    "device": checks.text,
    "devices": checks.devices,
    "dtype": checks.one_of(*get_args(Dtype)),
    "encode": checks.one_of(*get_args(EncodeChoice)),
    "bos": lambda _, word: TokenRule(bos=checks.text("bos", word)).bos,
    "leave_out": lambda _, word: TokenRule(leave_out=checks.text("leave_out", word)).leave_out,
    "memory": checks.optional(lambda field, size: checks.above_zero(field, size, MOST_MEMORY, "GiB")),
    "limit": checks.optional(checks.number_from(1)),
    "max_texts": checks.optional(checks.number_from(1)),
    "context": checks.optional(checks.number_from(1)),
    "out": checks.optional(checks.path),
    "cache": checks.optional(checks.path),
    "force": checks.yes_or_no,
    "shard": checks.optional(checks.shard),
    "engine": checks.one_of(*get_args(Engine)),
    "workers": checks.optional(checks.number_from(1)),
    "jobs": checks.optional(checks.number_from(1)),
    "plugins": checks.texts,
    "force_site": checks.yes_or_no,
}
"Field -> what it may hold."


def _read(path: Path) -> dict[str, Any]:
    if path.suffix not in (".yaml", ".yml", ".toml"):
        raise SaebenchError(f"config {str(path)!r} is neither YAML nor TOML by its name; call it .yaml or .toml")
    try:
        text = path.read_text(encoding="utf-8")
        fields = tomllib.loads(text) if path.suffix == ".toml" else yaml.safe_load(text)
    except OSError as error:
        raise SaebenchError(f"config {str(path)!r} cannot be read: {error.strerror}; check the path") from error
    except (ValueError, yaml.YAMLError) as error:
        first = " ".join(str(error).split())[:200]
        raise SaebenchError(f"config {str(path)!r} is not valid {path.suffix[1:]}: {first}; mend it") from error
    if fields is None:
        return {}
    if not isinstance(fields, dict):
        raise SaebenchError(f"config {str(path)!r} holds {kind_of(fields)}; write lines of field: value")
    return fields


def _written(value: Any) -> Any:
    """A value in the types of YAML."""
    if isinstance(value, Shard | Path):
        return str(value)
    if isinstance(value, dict):
        return {key: _written(item) for key, item in value.items()}
    return [_written(item) for item in value] if isinstance(value, tuple | list) else value
