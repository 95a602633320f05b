"""What is said where an optional package is not installed."""

from __future__ import annotations

from asyncembed._exceptions import ConfigurationError


def missing(what: str, package: str, extra: str) -> ConfigurationError:
    """Return the error of a module that needs a package of an extra."""
    return ConfigurationError(f'{what} needs {package}, which is not installed: pip install "asyncembed[{extra}]"')
