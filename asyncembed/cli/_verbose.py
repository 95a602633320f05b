"""What `--verbose` shows: the log of the package, a line an event, on standard error."""

from __future__ import annotations

import logging
import sys
from typing import Final

from asyncembed.cli._console import printable

_FORMAT: Final = "%(asctime)s %(levelname)s %(message)s"


class _StderrHandler(logging.Handler):
    """Writes to what standard error is at that moment: a progress bar puts something of its own in its place."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            sys.stderr.write(printable(self.format(record)) + "\n")
        except Exception:  # noqa: BLE001  # a log that cannot be written ends no run
            self.handleError(record)


def log_to_stderr() -> None:
    """Show everything that the package logs."""
    logger = logging.getLogger("asyncembed")
    logger.setLevel(logging.DEBUG)
    if not any(isinstance(handler, _StderrHandler) for handler in logger.handlers):
        handler = _StderrHandler()
        handler.setFormatter(logging.Formatter(_FORMAT, "%H:%M:%S"))
        logger.addHandler(handler)
