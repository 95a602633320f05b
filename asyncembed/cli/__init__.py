"""The command `asyncembed`: embed files, search them, look at them, and run the embedded server."""

from __future__ import annotations

import sys
from typing import Final

MISSING: Final = 'Error: the command line needs the package {}, which is not installed: pip install "asyncembed[cli]"'
STOPPED: Final = 130
"""Exit code after Ctrl-C or SIGTERM."""


def main() -> None:
    """Run the command; importing this needs nothing but the standard library."""
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
