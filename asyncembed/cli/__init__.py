"""The command `asyncembed`, which embeds files, searches and describes the results, and runs the embedded server."""

from __future__ import annotations

import io
import sys
from typing import Final

from asyncembed.cli._signals import STOPPED

MISSING: Final = 'Error: the command line needs the package {}, which is not installed: pip install "asyncembed[cli]"'


def main() -> None:
    """Run the command. This module imports only the standard library, so that a missing package gives a clear error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # some consoles lack characters: write escapes instead of failing
            stream.reconfigure(errors="backslashreplace")
    try:
        _run()
    except KeyboardInterrupt:
        sys.stderr.write("stopped\n")
        raise SystemExit(STOPPED) from None


def _run() -> None:
    try:
        from asyncembed.cli._app import app
        from asyncembed.cli._console import escape_unsupported
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in {"typer", "rich"}:
            raise
        sys.stderr.write(MISSING.format(package) + "\n")
        raise SystemExit(2) from None
    escape_unsupported(sys.stdout, sys.stderr)
    app(prog_name="asyncembed")
