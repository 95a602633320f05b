"""Who asks: the key that holds now, and the headers that each attempt carries it in.

A key may be given as a function, because some keys expire within the hour. It is asked when the first request needs it,
and once more after a refusal, for all requests together: those that were refused with the old key find the new one.
"""

from __future__ import annotations

import asyncio
import re
import time
from inspect import isawaitable
from pathlib import PurePath
from typing import TYPE_CHECKING, Final

from asyncembed._exceptions import APIStatusError, ConfigurationError
from asyncembed._redaction import Secret, hide_values, is_sendable, names_secret

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from types import TracebackType

    from asyncembed._redaction import KeyFunction, Secrets


FRESH: Final = 10.0
"""Seconds for which a key that the function has returned is not asked for again if it is refused."""

_REFUSED: Final = 401
_MAY_BE_EXPIRED: Final = frozenset({400, 403})
"""Statuses that some services have for it: Amazon and Databricks 403, Google 400."""

_EXPIRED: Final = (
    r"(?i)\b(?:tokens?|keys?|credentials?)\b.{0,60}\bexpired\b|\bexpired[ _-]?(?:access |security |api )?(?:token|key)"
)


class KeySource:
    """Gives the key of each attempt: always the same, or what a function of the caller's returns.

    Args:
        given: The key, the function, or None if there is no key.
        secrets: Told of each key that the function returns, so that it is blotted out of what servers say.
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
        self._renewed: float | None = None  # when, if the key that holds now has not been accepted since then
        self.number = 0
        """How many different keys there have been; that of the key that holds now."""

    async def get(self) -> Secret | None:
        """Return the key that holds now, None if there is none.

        Raises:
            ConfigurationError: if the function fails, or returns something else than a key.
        """
        if self._function is None:
            return self._key
        async with self._lock:  # while it is renewed, others wait for the new one
            if self._key is None:
                await self._ask(self._function)
            return self._key

    async def renew(self, number: int) -> bool:
        """Whether there is another key than the one of this number, which was refused.

        If a key that the function has just returned is refused as well, it is not asked again so soon.

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
        """Note that the API has taken the key of this number."""
        if number == self.number:
            self._renewed = None

    async def _ask(self, function: KeyFunction) -> None:
        # What was returned or raised may be or hold a key, so no frame that an error leads through may keep it.
        try:
            key, fault = _key_in(await _answer_of(function))
        except Exception as error:  # noqa: BLE001  # the caller's own, whatever it is
            key, fault = None, f"raised {type(error).__name__}{_place_of(error.__traceback__)}"
        if key is None:
            raise ConfigurationError(f"api_key= is a function that {fault}")
        self._secrets.add(key)
        if key != self._key:
            self._key = key
            self.number += 1


class Authorization:
    """Makes the headers that say who asks, for one attempt after the other.

    Args:
        key: Gives the key.
        hook: The provider's `authorize`.
        kept: Names of headers that the caller has set himself, in lower case; these are not replaced.
        secrets: Told of what the hook returns, where its name says that it is secret.
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
        """Return the number of the key that holds now, and headers for one attempt; their values do not show.

        Raises:
            ConfigurationError: if there is no key because of the caller's function.
        """
        key, number = await self.key.get(), self.key.number
        headers = hide_values(await self._hook(key, url, body))
        for name, value in headers.items():
            if names_secret(name):
                self._secrets.add(value)
        return number, {name: value for name, value in headers.items() if name.lower() not in self._kept}


def refuses_key(error: BaseException) -> bool:
    """Whether an API has refused the key, so that a newer one may go well."""
    if not isinstance(error, APIStatusError):
        return False
    words = f"{error.code} {error.provider_message}"
    return error.status == _REFUSED or (error.status in _MAY_BE_EXPIRED and re.search(_EXPIRED, words) is not None)


async def _answer_of(function: KeyFunction) -> object:
    answer = function()
    return await answer if isawaitable(answer) else answer


def _key_in(answer: object) -> tuple[Secret | None, str]:
    """Return the key, or what is wrong; never raises, as the answer may be the key in another form."""
    if not isinstance(answer, str):
        return None, f"returned {type(answer).__name__} and not str"
    if not answer:
        return None, "returned an empty text"
    if not is_sendable(answer):
        return None, "returned white space or characters that a header cannot carry; let it strip its key"
    return Secret(answer), ""


def _place_of(trace: TracebackType | None) -> str:
    """Say where an error comes from; its own words may hold a key."""
    while trace and trace.tb_next:
        trace = trace.tb_next
    return f" ({PurePath(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno})" if trace else ""
