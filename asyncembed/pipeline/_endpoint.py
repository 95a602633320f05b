"""What all streams of one client share: the provider, the way there, and what has been learned about it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal

import orjson

from asyncembed._errors import InvalidInputError
from asyncembed.flow._retry import SharedPause
from asyncembed.flow._turns import Turns

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from asyncembed._errors import AsyncEmbedError
    from asyncembed._settings import EmbedOptions, Encoding, RetryPolicy
    from asyncembed.flow._concurrency import AdaptiveConcurrency
    from asyncembed.flow._memory import MemoryBudget
    from asyncembed.providers import Provider
    from asyncembed.wire._transport import Transport

_REFUSES_BASE64: Final = re.compile(r"base64|encoding_format|embedding_types", re.IGNORECASE)


@dataclass(slots=True)
class Learned:
    """What the answers of an API have taught.

    Attributes:
        pause: Stops every request while the API wants to be left alone.
        refuses_base64: It does not know base64, and is asked for floats.
        dimensions: Dimension that vectors had, by the model and the dimension that were asked for.
    """

    pause: SharedPause = field(default_factory=SharedPause)
    refuses_base64: bool = False
    dimensions: dict[tuple[str, int | None], int] = field(default_factory=dict)


@dataclass(slots=True, repr=False)
class Endpoint:
    """One API as one client sees it.

    Attributes:
        provider: The wire format.
        encoding: "base64", "float", or "auto" to let the provider and its answers decide.
        retry: When to try again.
        concurrency: Slots for requests.
        budget: Memory for requests and results.
        connect: Opens the way there, once, when it is first needed.
        address: Where it is, if that is not the provider's own address; None for the embedded server, too.
        is_official: Whether it is the provider's own address, so that its models are what their names say.
        learned: The same object for every stream, also for those with a budget or slots of their own.
        turns: Shares of the event loop's time.
    """

    provider: Provider
    encoding: Encoding
    retry: RetryPolicy
    concurrency: AdaptiveConcurrency
    budget: MemoryBudget
    connect: Callable[[], Awaitable[Transport]]
    address: str | None = None
    is_official: bool = True
    learned: Learned = field(default_factory=Learned)
    turns: Turns = field(default_factory=Turns)

    def wire_encoding(self, *, compact: bool = False) -> Literal["base64", "float"]:
        """Which encoding to ask for now; `compact` asks for base64 also where it has only been promised."""
        if self.encoding != "auto":
            return self.encoding
        wanted = self.provider.base64_by_default or (compact and self.provider.base64_offered)
        return "base64" if wanted and not self.learned.refuses_base64 else "float"

    def learns_from(self, error: AsyncEmbedError, encoding: Literal["base64", "float"]) -> bool:
        """Whether the API only refused base64; then it is not asked for it again."""
        refused = (
            self.encoding == "auto"
            and encoding == "base64"
            and isinstance(error, InvalidInputError)
            and _REFUSES_BASE64.search(error.provider_message) is not None
        )
        self.learned.refuses_base64 |= refused
        return refused

    def body(self, texts: Sequence[str], options: EmbedOptions, encoding: Literal["base64", "float"]) -> bytes:
        """Return a request body as JSON, without the fields that are not set."""
        fields = self.provider.body(texts, options, encoding)
        return orjson.dumps({**{name: value for name, value in fields.items() if value is not None}, **options.extra})
