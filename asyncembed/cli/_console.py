"""Output of the command line: results on standard output; messages and the log of `--verbose` on standard error."""

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
    from collections.abc import Iterable, Iterator


FAILED: Final = 1
"""Exit code if the API, the network, a row or the disk causes a failure."""
WRONG_USE: Final = 2
"""Exit code if the options or arguments are wrong."""


def stdout() -> Console:
    """Return a console for results. It wraps lines on a terminal only."""
    return Console(file=sys.stdout, highlight=False, soft_wrap=not sys.stdout.isatty())


def stderr() -> Console:
    """Return a console for messages. It wraps lines on a terminal only."""
    return Console(file=sys.stderr, highlight=False, soft_wrap=not sys.stderr.isatty())


def can_show_all(stream: TextIO) -> bool:
    """Return whether a stream can encode every character. Only the UTF encodings can."""
    try:
        return codecs.lookup(stream.encoding or "ascii").name.startswith("utf")
    except LookupError:
        return False


def escape_unsupported(*streams: TextIO) -> None:
    """Make streams write escapes for characters that they cannot encode, instead of raising an error."""
    for stream in streams:
        if isinstance(stream, io.TextIOWrapper) and not can_show_all(stream):
            stream.reconfigure(errors="backslashreplace")


def say(message: str, style: str = "") -> None:
    """Write a message to standard error."""
    console = stderr()
    console.print(Text(printable(message, console), style))


def fail(message: str, code: int = FAILED, notes: Iterable[str] = ()) -> NoReturn:
    """Write an error message and notes, and exit."""
    console = stderr()
    console.print(Text("Error: ", "bold red").append(printable(message, console), "not bold default"))
    for note in notes:
        say(note)
    raise typer.Exit(code)


def stop() -> NoReturn:
    """Write that the command was stopped, and exit."""
    say("stopped")
    raise typer.Exit(STOPPED)


def printable(text: str, console: Console | None = None) -> str:
    """Return a text on one line, without control characters that could manipulate the terminal.

    Characters that `console` cannot encode are escaped here, so that the console measures the width that it prints.
    """
    line = "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in " ".join(text.split()))
    if console is None or line.isascii():
        return line
    try:
        return line.encode(console.encoding, "backslashreplace").decode(console.encoding)
    except LookupError:
        return line.encode("ascii", "backslashreplace").decode()


def plural(count: int, noun: str) -> str:
    """Return a count with its noun, such as "1 text" or "2,000 texts"."""
    plurals = {"retry": "retries"}
    return f"{count:,} {noun if count == 1 else plurals.get(noun, noun + 's')}"


_FORMAT: Final = "%(asctime)s %(levelname)s %(message)s"


class _StderrHandler(logging.Handler):
    """Writes to the current `sys.stderr`, which a progress bar replaces while it is shown."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            sys.stderr.write(printable(self.format(record)) + "\n")
        except Exception:  # noqa: BLE001  # a failing log must not stop the run
            self.handleError(record)


@contextmanager
def log_to_stderr() -> Iterator[None]:
    """Write all log messages of this package to standard error while the context is open."""
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
