"""How the command line speaks: results on standard output, everything about them on standard error.

What `--verbose` shows: the log of the package, a line an event, on standard error.
"""

from __future__ import annotations

import codecs
import io
import logging
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, NoReturn, TextIO

import typer
from rich.console import Console
from rich.text import Text

from asyncembed.cli._signals import STOPPED

if TYPE_CHECKING:
    from collections.abc import Iterator


FAILED: Final = 1
"""Exit code for what went wrong on the way: the API, the network, a row, the disk."""
WRONG_USE: Final = 2
"""Exit code for what cannot be done as it was asked for."""


def stdout() -> Console:
    """Return a console for results; it does not break lines that go into a pipe."""
    return Console(file=sys.stdout, highlight=False, soft_wrap=not sys.stdout.isatty())


def stderr() -> Console:
    """Return a console for messages."""
    return Console(file=sys.stderr, highlight=False, soft_wrap=not sys.stderr.isatty())


def can_show_all(stream: TextIO) -> bool:
    """Whether a stream takes every character: one that is not UTF-8 may raise an error for what it lacks."""
    try:
        return codecs.lookup(stream.encoding or "ascii").name.startswith("utf")
    except LookupError:
        return False


def escape_others(*streams: TextIO) -> None:
    """Have streams that lack characters write escapes for them, instead of raising an error."""
    for stream in streams:
        if isinstance(stream, io.TextIOWrapper) and not can_show_all(stream):
            stream.reconfigure(errors="backslashreplace")


def say(message: str, style: str = "") -> None:
    """Write a message to standard error."""
    console = stderr()
    console.print(Text(printable(message, console), style))


def fail(error: BaseException | str, code: int = FAILED) -> NoReturn:
    """Write an error message, with the notes on the error, and leave with an exit code."""
    console = stderr()
    message = printable(str(error) or type(error).__name__, console)
    console.print(Text("Error: ", "bold red").append(message, "not bold default"))
    for note in getattr(error, "__notes__", ()):
        say(note)
    raise typer.Exit(code)


def stop() -> NoReturn:
    """Say that the command was stopped, and leave."""
    say("stopped")
    raise typer.Exit(STOPPED)


def printable(text: str, console: Console | None = None) -> str:
    """Return text on one line without control characters, which could do things to a terminal.

    What `console` has no character for is escaped, so that it takes the room that it is given.
    """
    line = "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in " ".join(text.split()))
    if console is None or line.isascii():
        return line
    try:
        return line.encode(console.encoding, "backslashreplace").decode(console.encoding)
    except LookupError:
        return line.encode("ascii", "backslashreplace").decode()


def plural(count: int, noun: str) -> str:
    """Return a count with its noun: 1 text, 2,000 texts."""
    plurals = {"retry": "retries"}
    return f"{count:,} {noun if count == 1 else plurals.get(noun, noun + 's')}"


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
