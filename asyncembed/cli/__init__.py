"""The command `asyncembed`: embed files, search them, look at them, and run the embedded server."""

from __future__ import annotations

import io
import sys
from typing import Final

from asyncembed.cli._signals import STOPPED

MISSING: Final = 'Error: the command line needs the package {}, which is not installed: pip install "asyncembed[cli]"'


def main() -> None:
    """Run the command; importing this needs nothing but the standard library."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(
            stream, io.TextIOWrapper
        ):  # a console may not have every character; an escape is better than none
            stream.reconfigure(errors="backslashreplace")
    try:
        _run()
    except KeyboardInterrupt:
        sys.stderr.write("stopped\n")
        raise SystemExit(STOPPED) from None


def _run() -> None:
    try:
        from asyncembed.cli._app import app
        from asyncembed.cli._console import escape_others
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in {"typer", "rich"}:
            raise
        sys.stderr.write(MISSING.format(package) + "\n")
        raise SystemExit(2) from None
    escape_others(sys.stdout, sys.stderr)
    app(prog_name="asyncembed")
