"""What `--verbose` shows: the log of the package, a line an event, on standard error."""

from __future__ import annotations

import logging
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from asyncembed.cli._console import printable

if TYPE_CHECKING:
    from collections.abc import Iterator

_FORMAT: Final = "%(asctime)s %(levelname)s %(message)s"


class _StderrHandler(logging.Handler):
    """Writes to what standard error is at that moment: a progress bar puts something of its own in its place."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            sys.stderr.write(printable(self.format(record)) + "\n")
        except Exception:  # noqa: BLE001  # a log that cannot be written ends no run
            self.handleError(record)


@contextmanager
def log_to_stderr() -> Iterator[None]:
    """Show everything that the package logs meanwhile."""
    logger, handler = logging.getLogger("asyncembed"), _StderrHandler()
    handler.setFormatter(logging.Formatter(_FORMAT, "%H:%M:%S"))
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    try:
        yield
    finally:
        logger.setLevel(level)
        logger.removeHandler(handler)
