"""Output that is not UTF-8, names with control characters, and errors of the system are sentences, no tracebacks."""

import io
import sys

import pytest
import typer
from typer.testing import CliRunner

from saebench_lite.cli import main as entry
from saebench_lite.cli.terminal import guarded


def failing(error: BaseException) -> typer.Typer:
    app = typer.Typer()

    def command() -> None:
        raise error

    app.command()(guarded(command))
    return app


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "latin-1"])
def test_what_an_encoding_lacks_is_spelt_out(monkeypatch, encoding):
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding=encoding))
    monkeypatch.setattr(entry, "app", lambda words: print("auroc \u2191 \u00b7 a \u2013 b"))
    entry.main()
    sys.stdout.flush()
    text = raw.getvalue().decode(encoding)
    assert "auroc" in text
    assert "\\u2191" in text


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (
            OSError(28, "No space left on device"),
            "Error: OSError: [Errno 28] No space left on device; finished records",
        ),
        (PermissionError(13, "Permission denied", "x"), "Permission denied"),
        (MemoryError(), "Error: memory ran out; finished records are kept"),
        (RuntimeError("std::bad_alloc"), "Error: memory ran out"),
        (RecursionError("maximum recursion depth"), "Error: RecursionError"),
        (UnicodeEncodeError("utf-8", "\udcff", 0, 1, "surrogates"), "Error: UnicodeEncodeError"),
    ],
)
def test_errors_of_the_system_end_with_a_sentence(error, sentence):
    result = CliRunner().invoke(failing(error))
    assert result.exit_code == 2
    assert sentence in result.output
    assert "Traceback" not in result.output


def test_faults_of_ours_keep_their_traceback():
    result = CliRunner().invoke(failing(RuntimeError("a fault")))
    assert isinstance(result.exception, RuntimeError)
    debug = CliRunner().invoke(failing(OSError("disk")), ["--debug"])
    assert isinstance(debug.exception, OSError)


def test_sentences_move_no_cursor():
    from saebench_lite.errors import SaebenchError

    result = CliRunner().invoke(failing(SaebenchError("no SAE at 'a\x1b[31m\u202eb'")))
    assert "\x1b" not in result.output
    assert "\u202e" not in result.output
