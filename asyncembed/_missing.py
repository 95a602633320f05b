"""The error for an optional package that is not installed."""

from __future__ import annotations

from asyncembed._exceptions import ConfigurationError


def missing(what: str, package: str, extra: str) -> ConfigurationError:
    """Return the error of a feature that needs the package of an extra."""
    return ConfigurationError(f'{what} needs {package}, which is not installed: pip install "asyncembed[{extra}]"')
