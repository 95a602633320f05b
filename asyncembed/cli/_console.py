"""How the command line speaks: results on standard output, everything about them on standard error."""

from __future__ import annotations

import sys
from typing import Final, NoReturn

import typer
from rich.console import Console
from rich.text import Text

from asyncembed.cli._signals import STOPPED

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


def say(message: str, style: str = "") -> None:
    """Write a message to standard error."""
    stderr().print(Text(printable(message), style))


def fail(error: BaseException | str, code: int = FAILED) -> NoReturn:
    """Write an error message, with the notes on the error, and leave with an exit code."""
    stderr().print(
        Text("Error: ", "bold red").append(printable(str(error) or type(error).__name__), "not bold default")
    )
    for note in getattr(error, "__notes__", ()):
        say(note)
    raise typer.Exit(code)


def stop() -> NoReturn:
    """Say that the command was stopped, and leave."""
    say("stopped")
    raise typer.Exit(STOPPED)


def printable(text: str) -> str:
    """Return text on one line without control characters, which could do things to a terminal."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in " ".join(text.split()))


def plural(count: int, noun: str) -> str:
    """Return a count with its noun: 1 text, 2,000 texts."""
    plurals = {"retry": "retries"}
    return f"{count:,} {noun if count == 1 else plurals.get(noun, noun + 's')}"
