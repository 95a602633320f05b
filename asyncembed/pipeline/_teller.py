"""Makes the events of one run and tells them; loaded when somebody listens, as to import it takes its time."""

from __future__ import annotations

import os
from logging import DEBUG, INFO
from typing import TYPE_CHECKING, TypedDict

from asyncembed._errors import APIStatusError, AsyncEmbedError
from asyncembed._events import (
    BatchSplit,
    EncodingSettled,
    EndpointPaused,
    InputsFailed,
    RequestEnded,
    RequestProbed,
    RequestsHeld,
    RequestStarted,
    RetryScheduled,
    RunEnded,
)
from asyncembed._logs import write
from asyncembed.pipeline._words import without_texts

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Literal

    from asyncembed._events import Event
    from asyncembed._models import EmbedInput, RunSummary
    from asyncembed._settings import EmbedOptions
    from asyncembed.pipeline._blocks import BlockDelivery
    from asyncembed.pipeline._delivery import ResultDelivery
    from asyncembed.pipeline._observer import Hook
    from asyncembed.pipeline._watch import Watch


class Names(TypedDict):
    """What every event bears."""

    provider: str
    model: str
    run: str


class Reason(TypedDict):
    """What an event says of the error that it is about."""

    error: str | None
    message: str
    status: int | None


class Teller:
    """Makes events of what happens in one run.

    Args:
        hook: The caller's `on_event`, if there is one.
        provider: Name of the provider.
        options: What is asked for.
        asked: The texts that were asked for when an error came, which its message may repeat.
    """

    def __init__(
        self, hook: Hook | None, provider: str, options: EmbedOptions, asked: Mapping[BaseException, Sequence[str]]
    ) -> None:
        self._hook = hook
        self._options = options
        self._asked = asked
        self._given_up: frozenset[int] = frozenset()  # what the last of these events was about
        self._names: Names = {"provider": provider, "model": options.model, "run": os.urandom(6).hex()}

    def reason(self, error: BaseException | None, *texts: str) -> Reason:
        """What may be told of an error; of one that is not ours only its kind, as its words may hold anything."""
        message = ""
        if isinstance(error, AsyncEmbedError):
            message = without_texts(str(error), [*self._asked.get(error, ()), *texts])
        status = error.status if isinstance(error, APIStatusError) else None
        return {"error": type(error).__name__ if error else None, "message": message, "status": status}

    def request_started(self, watch: Watch) -> None:
        """Tell that a request goes out."""
        host, port = watch.server
        event = RequestStarted(
            **self._names,
            request=watch.number,
            attempt=watch.delivery.attempts,
            indices=tuple(index for index in watch.delivery.missing if index >= 0),  # none for a harmless text
            encoding=watch.encoding,
            dimensions=self._options.dimensions,
            host=host,
            port=port,
        )
        self._tell(event, DEBUG)

    def request_ended(self, watch: Watch, error: BaseException | None, seconds: float) -> None:
        """Tell how a request went."""
        event = RequestEnded(
            **self._names,
            **self.reason(error),
            request=watch.number,
            attempt=watch.delivery.attempts,
            inputs=len(watch.texts),
            vectors=watch.arrived,
            tokens=watch.tokens,
            bytes_received=watch.bytes_received,
            seconds=seconds,
            seconds_to_headers=watch.to_headers,
            seconds_to_first_vector=watch.to_first,
        )
        self._tell(event, DEBUG)

    def retry(self, error: AsyncEmbedError, seconds: float, delivery: ResultDelivery | BlockDelivery) -> None:
        """Tell that what is missing will be asked for again."""
        missing, attempt = delivery.missing, delivery.attempts
        reason = self.reason(error)
        self._tell(RetryScheduled(**self._names, **reason, attempt=attempt, indices=missing, seconds=seconds), INFO)

    def paused(self, error: AsyncEmbedError, seconds: float, level: int, *, again: bool) -> None:
        """Tell that the API wants to be left alone."""
        self._tell(EndpointPaused(**self._names, **self.reason(error), seconds=seconds, again=again), level)

    def held(self, reason: Literal["rate_limit", "outage"], seconds: float | None, level: int) -> None:
        """Tell that requests begin to wait."""
        self._tell(RequestsHeld(**self._names, reason=reason, seconds=seconds), level)

    def probed(self, answer: AsyncEmbedError | None, outcome: Literal["taken", "refused", "unclear"]) -> None:
        """Tell what came of a harmless text."""
        self._tell(RequestProbed(**self._names, **self.reason(answer), outcome=outcome), INFO)

    def settled_encoding(self, encoding: Literal["base64", "float"], why: str, level: int) -> None:
        """Tell what came of comparing base64 with numbers."""
        self._tell(EncodingSettled(**self._names, encoding=encoding, why=why), level)

    def split(self, error: AsyncEmbedError, indices: Sequence[int], parts: Sequence[int]) -> None:
        """Tell that texts will be asked for in parts of these sizes."""
        reason = self.reason(error)
        self._tell(BatchSplit(**self._names, **reason, indices=tuple(indices), parts=tuple(parts)), INFO)

    def gave_up(self, index: int, item: EmbedInput, error: AsyncEmbedError, level: int, *, skipped: bool) -> None:
        """Tell that a text is given up, with all others that the error stands for, unless that was told with them."""
        if index not in self._given_up:
            indices = error.indices if index in error.indices else (index,)
            self._given_up = frozenset(indices)
            reason = self.reason(error, item.text)
            self._tell(InputsFailed(**self._names, **reason, indices=indices, skipped=skipped), level)

    def ended(self, error: BaseException | None, summary: RunSummary, level: int) -> None:
        """Tell how the run went."""
        event = RunEnded(
            **self._names,
            **self.reason(error),
            done=summary.done,
            failed=summary.failed,
            requests=summary.requests,
            retries=summary.retries,
            salvaged=summary.salvaged,
            tokens=summary.usage.tokens,
            bytes_received=summary.bytes_received,
            seconds=summary.elapsed,
        )
        self._tell(event, level)

    def _tell(self, event: Event, level: int) -> None:
        write(event, level)
        if self._hook:
            self._hook(event)
