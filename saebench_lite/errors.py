"""The two exceptions a user meets. Each message is one sentence: the thing, the value, the way out."""


class SaebenchError(Exception):
    """Bad input or a broken artefact; shown without a traceback unless --debug is given."""


class NotApplicable(SaebenchError):
    """A task cannot say anything about this subject or site; the record keeps the reason instead of a number."""
