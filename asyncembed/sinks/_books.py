"""What all runs of a file took, as JSON: in the journal while it is made, and then beside it in `vectors.npy.run.json`.

That small file is no part of the result: two runs that make the same vectors differ in it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import orjson

from asyncembed import _exceptions as _errors
from asyncembed._exceptions import APIStatusError, AsyncEmbedError
from asyncembed._models import RunTotals, Usage
from asyncembed._version import __version__
from asyncembed.sinks._safe_open import new_file, read_file

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

BOOKS: Final = ".run.json"
"""Ending of the file."""

_MARK: Final = "asyncembed run"
_DETAILS: Final = ("status", "code", "request_id", "provider_message")


def totals_to_dict(totals: RunTotals, *, with_words: bool) -> dict[str, object]:
    """Return totals as the fields of a JSON object.

    Args:
        totals: The totals.
        with_words: Whether the words of the first failure are kept: they may repeat its text.
    """
    return {
        "runs": totals.runs,
        "requests": totals.requests,
        "retries": totals.retries,
        "salvaged": totals.salvaged,
        "cached": totals.cached,
        "duplicates": totals.duplicates,
        "bytes_received": totals.bytes_received,
        "tokens": totals.usage.tokens,
        "unreported_tokens": totals.usage.unreported_tokens,
        "failed": totals.failed,
        "first_failure": _failure_to_dict(totals.failure, with_words=with_words),
        "seconds": round(totals.seconds, 3),
    }


def totals_from_dict(fields: Mapping[str, object]) -> RunTotals:
    """Return what `totals_to_dict` was given; what is missing or of another kind counts as nothing."""

    def number(name: str) -> int:
        value = fields.get(name)
        return value if isinstance(value, int) else 0

    seconds, failure = fields.get("seconds"), fields.get("first_failure")
    return RunTotals(
        runs=number("runs"),
        failed=number("failed"),
        failure=_failure_from_dict(failure) if isinstance(failure, dict) else None,
        requests=number("requests"),
        retries=number("retries"),
        salvaged=number("salvaged"),
        cached=number("cached"),
        duplicates=number("duplicates"),
        bytes_received=number("bytes_received"),
        usage=Usage(number("tokens"), number("unreported_tokens")),
        seconds=float(seconds) if isinstance(seconds, int | float) else 0.0,
    )


def write_books(path: Path, totals: RunTotals, *, texts: int, rows: int, with_words: bool) -> None:
    """Write the totals of a whole file."""
    fields = {"about": _MARK, "version": __version__, "texts": texts, "rows": rows}
    with new_file(path) as file:
        file.write(orjson.dumps(fields | totals_to_dict(totals, with_words=with_words), option=orjson.OPT_INDENT_2))


def read_books(path: Path) -> RunTotals | None:
    """Return the totals in a file; None if there is none, or it holds something else."""
    try:
        fields = orjson.loads(read_file(path))
    except (OSError, ValueError, AsyncEmbedError):
        return None
    return totals_from_dict(fields) if isinstance(fields, dict) and fields.get("about") == _MARK else None


def _failure_to_dict(error: AsyncEmbedError | None, *, with_words: bool) -> dict[str, object] | None:
    if error is None:
        return None
    words = {"message": str(error), "provider_message": getattr(error, "provider_message", "")} if with_words else {}
    note = {
        "error": type(error).__name__,
        "index": min(error.indices, default=None),
        **{name: getattr(error, name, None) for name in _DETAILS},
        "message": f"its words are not kept, as they may repeat the text: {type(error).__name__}",
        "provider_message": "",
    } | words
    return {name: _plain(value) for name, value in note.items()}


def _failure_from_dict(note: Mapping[str, object]) -> AsyncEmbedError:
    found = getattr(_errors, str(note.get("error")), None)
    kind = found if isinstance(found, type) and issubclass(found, AsyncEmbedError) else AsyncEmbedError
    error = kind(str(note.get("message")))
    index = note.get("index")
    error.indices = (index,) if isinstance(index, int) else ()
    if isinstance(error, APIStatusError):
        for name in _DETAILS:
            if note.get(name) is not None:
                setattr(error, name, note[name])
    return error


def _plain(value: object) -> object:
    return value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value
