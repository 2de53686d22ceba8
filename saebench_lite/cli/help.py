"""Help in groups of options; plain text, so that brackets stay what they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from typer.core import TyperCommand


def grouped(groups: Mapping[str, Sequence[str]]) -> type[TyperCommand]:
    """A class of commands whose help lists options under the titles of `groups`, {title: names of parameters}.

    Options that are in none come last, under "Other".
    """

    class Grouped(TyperCommand):
        def format_options(self, ctx: Any, formatter: Any) -> None:  # Any: click's, of which typer may bring its own
            """Options under their titles."""
            rows = {p.name: row for p in self.get_params(ctx) if (row := p.get_help_record(ctx)) is not None}
            named = {name for names in groups.values() for name in names}
            for title, names in {**groups, "Other": [n for n in rows if n not in named]}.items():
                if shown := [rows[name] for name in names if name in rows]:
                    with formatter.section(title):
                        formatter.write_dl(shown)

    return Grouped
