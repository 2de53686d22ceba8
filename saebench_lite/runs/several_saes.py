"""Specs that mean several SAEs, patterns and folders of them, as one spec an SAE, with names that differ."""

from __future__ import annotations

import dataclasses
import glob
import logging
import os
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from saebench_lite.errors import SaebenchError
from saebench_lite.loading import open
from saebench_lite.loading import spec as spec_module
from saebench_lite.loading.spec import Spec
from saebench_lite.runs.sites import split_spec

logger = logging.getLogger(__name__)


class _One(NamedTuple):
    """One SAE: its spec, the site that is told, and what the user wrote."""

    spec: Spec
    site: str
    "`#hook=H`, or nothing."
    said: str

    @property
    def text(self) -> str:
        name = f"{self.spec.name}=" if self.spec.named else ""
        loader = f"{self.spec.loader}:" if self.spec.loader else ""
        return f"{name}{loader}{self.spec.where}{self.site}"

    @property
    def identity(self) -> object:
        """What two ways to write one path share; a name that was given tells them apart."""
        where = self.spec.where
        if spec_module.is_path(where):
            where = str(Path(where).expanduser().resolve())
        return self.spec.name if self.spec.named else None, self.spec.loader, where, self.site


def each_sae(specs: Sequence[str]) -> list[str]:
    """A spec for each SAE that the specs mean.

    A pattern (`runs/*/final`) stands for the paths that it matches, a folder of several SAEs for all of them. A file
    beside SAEs that is none (`open.is_stray`) is left out with a warning where a pattern matches it, here or in the
    shell: specs that are together all that some `FOLDER/PREFIX*` matches are taken for a pattern that it expanded.

    A path that is written in two ways, such as `X` and `X/`, is one SAE.

    What shares a name and was given none by the user gets as many of its parent folders in front as tell it apart:
    `relu_layers.1`. A spec that cannot be parsed stays as it is, and fails when it is read.

    SaebenchError for a pattern that matches nothing, one name for several SAEs, or two specs that end in one name.
    """
    found: dict[object, _One | str] = {}
    for one in (one for spec in _without_strays(specs) for one in _meant(spec)):
        found.setdefault(one if isinstance(one, str) else one.identity, one)
    named = _told_apart([one for one in found.values() if isinstance(one, _One)])
    return [one if isinstance(one, str) else named[one].text for one in found.values()]


def _without_strays(specs: Sequence[str]) -> list[str]:
    """The specs without files beside SAEs, where a shell may have written them in the place of a pattern."""
    beside: dict[Path, list[str]] = {}
    for text in specs:
        if spec_module.is_path(text):
            beside.setdefault(Path(text).parent, []).append(text)
    out = list(specs)
    for folder, words in beside.items():
        prefix = os.path.commonprefix([Path(word).name for word in words])  # noqa: RUF071  (letters are meant)
        matched = glob.glob(os.path.join(glob.escape(str(folder)), f"{glob.escape(prefix)}*"))
        if len(words) > 1 and set(map(Path, words)) == set(map(Path, matched)):
            kept = _that_are_saes([Spec("", None, word) for word in words])
            out = [text for text in out if text not in words or text in {spec.where for spec in kept}]
    return out


def _that_are_saes(specs: Sequence[Spec]) -> list[Spec]:
    """The specs that name no stray file, with a warning; all of them where none is left."""
    strays = [spec for spec in specs if open.is_stray(spec)]
    if not strays or len(strays) == len(specs):
        return list(specs)
    for spec in strays:
        logger.warning(f"{spec.where} is no SAE and is left out")
    return [spec for spec in specs if spec not in strays]


def _meant(text: str) -> list[_One] | list[str]:
    try:
        place = split_spec(text).spec
        spec = spec_module.parse(place)
    except SaebenchError:
        return [text]
    site = text[len(place) :]
    paths = [spec.where]
    if re.search(r"[*?\[]", spec.where) and not spec_module.is_path(spec.where):
        paths = sorted(glob.glob(str(Path(spec.where).expanduser())))
        if not paths:
            raise SaebenchError(f"no file or folder matches {spec.where!r}; check the pattern of SAE spec {text!r}")
    whole = [dataclasses.replace(spec, where=path, name=spec.name_for(path)) for path in paths]
    each = [one for s in _that_are_saes(whole) for one in _within(s)]
    if spec.named and len(each) > 1:
        raise SaebenchError(f"SAE spec {text!r} gives one name to {len(each)} SAEs; leave the name out")
    return [_One(one, site, text) for one in each]


def _within(spec: Spec) -> list[Spec]:
    """The SAEs of a folder that holds several; the spec itself for anything else."""
    paths = [str(path) for path in open.saes_below(spec)]
    if len(paths) < 2:
        return [spec]
    return [dataclasses.replace(spec, where=path, name=spec.name_for(path)) for path in paths]


def _told_apart(ones: Sequence[_One]) -> dict[_One, _One]:
    """Each with a name that no other has."""
    out = {one: one for one in ones}
    deepest = max((len(_parts(one)) for one in ones), default=0)
    for depth in range(2, deepest + 1):
        shared = {name for name, n in Counter(one.spec.name for one in out.values()).items() if n > 1}
        for one, now in out.items():
            if now.spec.name in shared and not one.spec.named:
                name = re.sub(r"[^\w .+-]", "_", "_".join(_parts(one)[-depth:]))
                out[one] = one._replace(spec=dataclasses.replace(one.spec, name=name, named=True))
    seen: dict[str, _One] = {}
    for one, now in out.items():
        if (other := seen.setdefault(now.spec.name, one)) is not one:
            raise SaebenchError(
                f"SAE specs {other.said!r} and {one.said!r} are both called {now.spec.name!r}; name one of them:"
                f" other_name={one.said.partition('=')[2] if one.spec.named else one.said}"
            )
    return out


def _parts(one: _One) -> list[str]:
    return [part for part in re.split(r"[/:]", one.spec.where) if part not in ("", ".", "..", "~")]
