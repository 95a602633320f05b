"""Totals over all runs of a file, such as requests, tokens and failures, as JSON.

The journal keeps them while the file is written. Afterwards they are in `vectors.npy.run.json` beside the file. That
file is not part of the result: it differs between two runs that produce the same vectors.
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

TOTALS_SUFFIX: Final = ".run.json"
"""Suffix of the file with the totals."""

_MARK: Final = "asyncembed run"
_DETAILS: Final = ("status", "code", "request_id", "provider_message")


def totals_to_dict(totals: RunTotals, *, with_messages: bool) -> dict[str, object]:
    """Return totals as the fields of a JSON object.

    Args:
        totals: The totals.
        with_messages: Whether to keep the messages of the first failure, which may quote its text.
    """
    return {
        "runs": totals.runs,
        "requests": totals.requests,
        "retries": totals.retries,
        "salvaged": totals.salvaged,
        "cached": totals.cached,
        "duplicates": totals.duplicates,
        "truncated": totals.truncated,
        "bytes_received": totals.bytes_received,
        "tokens": totals.usage.tokens,
        "unreported_tokens": totals.usage.unreported_tokens,
        "failed": totals.failed,
        "first_failure": _failure_to_dict(totals.failure, with_messages=with_messages),
        "seconds": round(totals.seconds, 3),
    }


def totals_from_dict(fields: Mapping[str, object]) -> RunTotals:
    """Return the totals that `totals_to_dict` encoded. A missing or invalid field counts as 0 or None."""

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
        truncated=number("truncated"),
        bytes_received=number("bytes_received"),
        usage=Usage(number("tokens"), number("unreported_tokens")),
        seconds=float(seconds) if isinstance(seconds, int | float) else 0.0,
    )


def write_totals(path: Path, totals: RunTotals, *, texts: int, rows: int, with_messages: bool) -> None:
    """Write the totals of a finished file."""
    fields = {"about": _MARK, "version": __version__, "texts": texts, "rows": rows}
    with new_file(path) as file:
        file.write(
            orjson.dumps(fields | totals_to_dict(totals, with_messages=with_messages), option=orjson.OPT_INDENT_2)
        )


def read_totals(path: Path) -> RunTotals | None:
    """Return the totals in a file; None if the file does not exist or has other content."""
    try:
        fields = orjson.loads(read_file(path))
    except (OSError, ValueError, AsyncEmbedError):
        return None
    return totals_from_dict(fields) if isinstance(fields, dict) and fields.get("about") == _MARK else None


def _failure_to_dict(error: AsyncEmbedError | None, *, with_messages: bool) -> dict[str, object] | None:
    if error is None:
        return None
    fields = {
        "error": type(error).__name__,
        "index": min(error.indices, default=None),
        **{name: getattr(error, name, None) for name in _DETAILS},
        "message": f"message not kept, because it may quote the text: {type(error).__name__}",
        "provider_message": "",
    }
    if with_messages:
        fields |= {"message": str(error), "provider_message": getattr(error, "provider_message", "")}
    return {name: _as_utf8(value) for name, value in fields.items()}


def _failure_from_dict(fields: Mapping[str, object]) -> AsyncEmbedError:
    found = getattr(_errors, str(fields.get("error")), None)
    error_class = found if isinstance(found, type) and issubclass(found, AsyncEmbedError) else AsyncEmbedError
    error = error_class(str(fields.get("message")))
    index = fields.get("index")
    error.indices = (index,) if isinstance(index, int) else ()
    if isinstance(error, APIStatusError):
        for name in _DETAILS:
            if fields.get(name) is not None:
                setattr(error, name, fields[name])
    return error


def _as_utf8(value: object) -> object:
    return value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value
