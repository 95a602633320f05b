"""Tells whoever listens what a run does: the caller's `on_event`, and the log. When nobody does, nothing is built."""

from __future__ import annotations

from functools import cached_property, partial
from inspect import iscoroutinefunction
from logging import DEBUG, INFO, WARNING
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from asyncembed._errors import AsyncEmbedError, StreamClosedError
from asyncembed._logs import LOGGER
from asyncembed._settings import check
from asyncembed.flow._hold import Hold
from asyncembed.pipeline._watch import Watch

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Literal, Self

    from asyncembed._events import Event
    from asyncembed._models import EmbedInput, RunSummary
    from asyncembed._settings import EmbedOptions
    from asyncembed.pipeline._blocks import BlockDelivery
    from asyncembed.pipeline._delivery import ResultDelivery
    from asyncembed.pipeline._teller import Teller
    from asyncembed.wire._transport import Transport


class Hook:
    """The caller's `on_event`. What it raises breaks no run: it is logged, once.

    Args:
        function: What is told of each event.
    """

    def __init__(self, function: Callable[[Event], None]) -> None:
        self._function = function
        self._has_failed = False

    @classmethod
    def of(cls, function: Callable[[Event], None] | None) -> Self | None:
        """Return one for this function, if there is one.

        Raises:
            ConfigurationError: if it is no plain function.
        """
        is_async = iscoroutinefunction(function) or iscoroutinefunction(getattr(function, "__call__", None))  # noqa: B004
        plain = function is None or (callable(function) and not is_async)
        check(plain, f"on_event={function!r} must be a plain function of one event; nobody would await an async one")
        return None if function is None else cls(function)

    def __call__(self, event: Event) -> None:
        try:
            self._function(event)
        except Exception:  # noqa: BLE001  # the caller's own, whatever it is
            if not self._has_failed:
                LOGGER.warning("on_event_failed: on_event= raised an error; it will be logged only once", exc_info=True)
            self._has_failed = True


class Observer:
    """Knows whether anybody listens to one run, and what was asked for when it went wrong.

    Args:
        hook: The caller's `on_event`, if there is one.
        provider: Name of the provider.
        options: What is asked for.
        skips: Whether nobody but the log is told of texts that are given up.
    """

    def __init__(self, hook: Hook | None, provider: str, options: EmbedOptions, *, skips: bool) -> None:
        self._hook = hook
        self._provider = provider
        self._options = options
        self._skips = skips
        self._requests = 0
        self._asked: WeakKeyDictionary[BaseException, Sequence[str]] = WeakKeyDictionary()

    def listens(self, level: int) -> bool:
        """Whether anybody wants an event of this level: only then is it worth making."""
        return self._hook is not None or LOGGER.isEnabledFor(level)

    @cached_property
    def teller(self) -> Teller:
        """What makes the events and tells them."""
        from asyncembed.pipeline._teller import Teller  # noqa: PLC0415  # few runs have a listener, and it takes a while

        return Teller(self._hook, self._provider, self._options, self._asked)

    def request(
        self,
        delivery: ResultDelivery | BlockDelivery,
        texts: Sequence[str],
        transport: Transport,
        encoding: Literal["base64", "float"],
    ) -> Watch:
        """Return what watches the request that is entered next, for what `delivery` misses."""
        self._requests += 1
        return Watch(self, self._requests, delivery, texts, server=transport.server, encoding=encoding)

    def note(self, error: BaseException | None, texts: Sequence[str]) -> None:
        """Remember what was asked for when `error` came: its message may repeat it."""
        if isinstance(error, AsyncEmbedError):
            self._asked[error] = texts

    def copy_note(self, cause: BaseException, error: BaseException) -> None:
        """Remember for `error` what is remembered for what it was made of."""
        if cause in self._asked:
            self._asked[error] = self._asked[cause]

    def retry(self, error: AsyncEmbedError, seconds: float, delivery: ResultDelivery | BlockDelivery) -> None:
        """Tell that what is missing will be asked for again."""
        if self.listens(INFO):
            self.teller.retry(error, seconds, delivery)

    def paused(self, error: AsyncEmbedError, seconds: float, *, again: bool) -> None:
        """Tell that the API wants to be left alone."""
        level = DEBUG if again else INFO
        if self.listens(level):
            self.teller.paused(error, seconds, level, again=again)

    @cached_property
    def limit_hold(self) -> Hold:
        """Entered by what waits for the rate limits; they may be used up in a run that is well."""
        return Hold(partial(self._held, "rate_limit", DEBUG))

    @cached_property
    def outage_hold(self) -> Hold:
        """Entered by what waits until the API is back."""
        return Hold(partial(self._held, "outage", INFO))

    def _held(self, reason: Literal["rate_limit", "outage"], level: int, seconds: float | None) -> None:
        if self.listens(level):
            self.teller.held(reason, seconds, level)

    def probed(self, answer: AsyncEmbedError | None, outcome: Literal["taken", "refused", "unclear"]) -> None:
        """Tell what came of a harmless text."""
        if self.listens(INFO):
            self.teller.probed(answer, outcome)

    def settled_encoding(self, encoding: Literal["base64", "float"], why: str) -> None:
        """Tell what came of comparing base64 with numbers."""
        level = DEBUG if encoding == "base64" else INFO
        if self.listens(level):
            self.teller.settled_encoding(encoding, why, level)

    def split(self, error: AsyncEmbedError, indices: Sequence[int], parts: Sequence[int]) -> None:
        """Tell that the texts with these indices will be asked for in parts of these sizes, because of `error`."""
        if self.listens(INFO):
            self.teller.split(error, indices, parts)

    def gave_up(self, index: int, item: EmbedInput, error: AsyncEmbedError) -> None:
        """Tell that a text is given up; one event tells it of all texts that the error stands for."""
        level = WARNING if self._skips else INFO
        if self.listens(level):
            self.teller.gave_up(index, item, error, level, skipped=self._skips)

    def ended(self, error: BaseException | None, summarise: Callable[[], RunSummary]) -> None:
        """Tell how the run went."""
        level = DEBUG if error is None or isinstance(error, StreamClosedError) else INFO
        if self.listens(level):
            self.teller.ended(error, summarise(), level)
