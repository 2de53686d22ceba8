"""Names asked for by comma-separated names or shell patterns, the form of `where` of sources with named datasets."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence
from difflib import get_close_matches

from saebench_lite.errors import SaebenchError


def chosen_names(where: str, known: Sequence[str], source: str) -> list[str]:
    """The known names that a name or pattern of `where` ("5_*,87_glue_cola") matches, in their own order; all if empty.

    SaebenchError, naming the source and the closest names, for a pattern that matches none.
    """
    if not where:
        return list(known)
    patterns = [w.strip() for w in where.split(",")]
    for pattern in patterns:
        if not fnmatch.filter(known, pattern):
            close = get_close_matches(pattern, known, n=3, cutoff=0.3)
            raise SaebenchError(f"{source} has no dataset {pattern!r}; did you mean {' or '.join(close or known[:3])}?")
    return [name for name in known if any(fnmatch.fnmatch(name, p) for p in patterns)]
