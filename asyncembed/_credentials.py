"""The current key, and the headers that carry it in each request.

The key may be a function, because some keys expire within an hour. The function is called when the first request needs
the key, and once more after the API refuses it, for all requests together: every request that was refused with the old
key continues with the new one.
"""

from __future__ import annotations

import asyncio
import re
import time
from inspect import isawaitable
from pathlib import PurePath
from typing import TYPE_CHECKING, Final, TypeVar

from asyncembed._exceptions import APIStatusError, ConfigurationError
from asyncembed._redaction import Secret, hide_values, is_sendable, names_secret

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from types import TracebackType

    from asyncembed._redaction import KeyFunction, Secrets

Key = TypeVar("Key")

FRESH: Final = 10.0
"""Seconds after a renewal in which a refused key is not renewed again."""

_REFUSED: Final = 401
_MAY_BE_EXPIRED: Final = frozenset({400, 403})
"""Statuses that some services use for an expired key: Amazon and Databricks 403, Google 400."""

_EXPIRED: Final = (
    r"(?i)\b(?:tokens?|keys?|credentials?)\b.{0,60}\bexpired\b|\bexpired[ _-]?(?:access |security |api )?(?:token|key)"
)


class KeySource:
    """Provides the key of each attempt: a fixed one, or what the caller's function returns.

    Args:
        given: The key, the function, or None if there is no key.
        secrets: Redacts keys in server messages; gets each key that the function returns.
        clock: Monotonic seconds; replaced in tests.
    """

    def __init__(
        self, given: Secret | KeyFunction | None, secrets: Secrets, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._key = given if isinstance(given, Secret) else None
        self._function = None if isinstance(given, Secret) else given
        self._secrets = secrets
        self._clock = clock
        self._lock = asyncio.Lock()
        self._renewed: float | None = None  # time of the last renewal; None once the API has accepted the key
        self.number = 0
        """Number of the current key, which counts different keys."""

    async def get(self) -> Secret | None:
        """Return the current key; None if there is none.

        Raises:
            ConfigurationError: if the function fails, or returns something else than a key.
        """
        if self._function is None:
            return self._key
        async with self._lock:  # during a renewal, wait for the new key
            if self._key is None:
                await self._ask(self._function)
            return self._key

    async def renew(self, number: int) -> bool:
        """Renew the key after the API refused the one with this number; return whether there is a different key now.

        If the API refuses a key that the function has just returned, the function is not called again so soon.

        Raises:
            ConfigurationError: if the function fails, or returns something else than a key.
        """
        if self._function is None:
            return False
        async with self._lock:
            is_fresh = self._renewed is not None and self._clock() - self._renewed < FRESH
            if number == self.number and not is_fresh:
                await self._ask(self._function)
                self._renewed = self._clock()
            return number != self.number

    def accepted(self, number: int) -> None:
        """Record that the API has accepted the key with this number."""
        if number == self.number:
            self._renewed = None

    async def _ask(self, function: KeyFunction) -> None:
        key, fault = await call_key_function(function, _check_key)
        if key is None:
            raise ConfigurationError(f"api_key= is a function that {fault}")
        self._secrets.add(key)
        if key != self._key:
            self._key = key
            self.number += 1


class Authorization:
    """Builds the authorization headers of each attempt.

    Args:
        key: Provides the key.
        hook: The provider's `authorize`.
        kept: Names of headers that the caller has set, in lower case; they are not replaced.
        secrets: Redacts keys in server messages; gets the values of headers with secret names.
    """

    def __init__(
        self,
        key: KeySource,
        hook: Callable[[str | None, str, bytes], Awaitable[Mapping[str, str]]],
        *,
        kept: frozenset[str],
        secrets: Secrets,
    ) -> None:
        self.key = key
        self._hook = hook
        self._kept = kept
        self._secrets = secrets

    async def headers(self, url: str, body: bytes) -> tuple[int, Mapping[str, str]]:
        """Return the number of the current key, and the headers of one attempt, with hidden values.

        Raises:
            ConfigurationError: if the caller's key function fails.
        """
        key, number = await self.key.get(), self.key.number
        headers = hide_values(await self._hook(key, url, body))
        for name, value in headers.items():
            if names_secret(name):
                self._secrets.add(value)
        return number, {name: value for name, value in headers.items() if name.lower() not in self._kept}


def refuses_key(error: BaseException) -> bool:
    """Whether the API has refused the key, so that a newer one may help."""
    if not isinstance(error, APIStatusError):
        return False
    words = f"{error.code} {error.provider_message}"
    return error.status == _REFUSED or (error.status in _MAY_BE_EXPIRED and re.search(_EXPIRED, words) is not None)


async def call_key_function(
    function: Callable[[], object], check: Callable[[object], tuple[Key | None, str]]
) -> tuple[Key | None, str]:
    """Call a function of the caller that returns a key, and return the key, or None and what is wrong.

    What it returns or raises may contain a key, so no frame of a traceback may keep it.

    Args:
        function: The function, plain or async.
        check: Returns the key, or None and what is wrong with it.
    """
    try:
        result = function()
        return check(await result if isawaitable(result) else result)
    except Exception as error:  # noqa: BLE001  # the caller's function may raise anything
        return None, f"raised {type(error).__name__}{_location(error.__traceback__)}"


def _check_key(value: object) -> tuple[Secret | None, str]:
    """Return the key, or what is wrong with it; never raise, as a traceback would show the value."""
    if not isinstance(value, str):
        return None, f"returned {type(value).__name__} and not str"
    if not value:
        return None, "returned an empty str"
    if not is_sendable(value):
        return None, "returned white space or characters that a header cannot carry; strip the key in the function"
    return Secret(value), ""


def _location(trace: TracebackType | None) -> str:
    """Return file and line where an error was raised; its message may contain a key."""
    while trace and trace.tb_next:
        trace = trace.tb_next
    return f" ({PurePath(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno})" if trace else ""
