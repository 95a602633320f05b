"""What a provider is: a few declared facts, and two functions for its request body and its response layout."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from asyncembed._errors import ConfigurationError
from asyncembed._repr import ShortRepr
from asyncembed._settings import check

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from asyncembed._decide.signs import Sign
    from asyncembed._settings import Dtype, EmbedOptions
    from asyncembed.flow._rate import RateLimit
    from asyncembed.wire._layout import Layout


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Limits(ShortRepr):
    """What one request may hold.

    Attributes:
        inputs: Most texts.
        tokens: Most tokens of all texts together, as estimated; None where the API sets no such limit.
        request_bytes: Most UTF-8 bytes of all texts together.
    """

    inputs: int
    tokens: int | None = None
    request_bytes: int = 8_000_000


class Provider(ABC):
    """A wire format and the habits of the service behind it. Subclass it to teach the client a new API."""

    name: ClassVar[str]
    base_url: ClassVar[str | None]
    """Where the service is; None if the client has to start it."""
    base_url_variable: ClassVar[str | None] = None
    path: ClassVar[str]
    key_variables: ClassVar[tuple[str, ...]] = ()
    """Environment variables that may hold the key, the first one set wins; none if no key is needed."""
    header_variables: ClassVar[Mapping[str, str]] = {}
    """Further request headers, by the environment variable that holds their value."""
    default_model: ClassVar[str]
    dimensions: ClassVar[Mapping[str, int]] = {}
    """Known dimension of each model, where none is asked for."""
    limits: ClassVar[Limits]
    options: ClassVar[frozenset[str]] = frozenset()
    """Which of `input_type`, `dimensions` and `truncate` the API knows."""
    rate_limit: ClassVar[RateLimit | None] = None
    """What the service allows in a minute, where it has published that."""
    input_types: ClassVar[Mapping[str, str]] = {}
    """The provider's words for "document" and "query"."""
    dtypes: ClassVar[frozenset[Dtype]] = frozenset({"float32"})
    base64_offered: ClassVar[bool] = False
    """Whether its documents promise base64; where only they do, binary streams alone ask for it."""
    base64_by_default: ClassVar[bool] = False
    """Whether its base64 has been seen, so that `encoding="auto"` asks for it."""
    signs: ClassVar[tuple[Sign, ...]] = ()
    """What errors of this API mean, where that is not what they mean everywhere."""

    @abstractmethod
    def body(
        self, texts: Sequence[str], options: EmbedOptions, encoding: Literal["base64", "float"]
    ) -> dict[str, object]:
        """Return the JSON body of a request; `options.extra` is added by the caller."""

    @abstractmethod
    def layout(self, options: EmbedOptions, encoding: Literal["base64", "float"]) -> Layout:
        """Say where the vectors lie in the response to such a request."""

    def headers(self, api_key: str | None) -> dict[str, str]:
        """Return the headers that carry the key."""
        return {"Authorization": f"Bearer {api_key}"} if api_key else {}

    async def authorize(self, api_key: str | None, url: str, body: bytes) -> Mapping[str, str]:  # noqa: ARG002
        """Return the headers that say who asks, before each attempt; by default `headers(api_key)`.

        Override it where they depend on the request, as a signature does.

        Args:
            api_key: The key that holds now, None if there is none.
            url: The address of the request.
            body: The body of the request.
        """
        return self.headers(api_key)

    def dimension(self, options: EmbedOptions) -> int | None:
        """Return the dimension of the vectors, if it is asked for or known."""
        return options.dimensions or self.dimensions.get(options.model)

    def input_type(self, options: EmbedOptions) -> str | None:
        """Return the provider's own word for what the texts are."""
        return self.input_types.get(options.input_type or "document", options.input_type)

    def check(self, options: EmbedOptions) -> None:
        """Raise `ConfigurationError` for an option that this API does not have."""
        for option in ("input_type", "dimensions", "truncate"):
            given = getattr(options, option)
            if given is not None and option not in self.options:
                known = ", ".join(sorted(self.options)) or "none of its kind"
                raise ConfigurationError(
                    f"{option}={given!r} is not an option of provider {self.name!r} (it has: {known}); "
                    f"fields that only this server knows can be passed with extra={{...}}"
                )
        offered = ", ".join(sorted(self.dtypes))
        check(
            options.dtype in self.dtypes,
            f"dtype={options.dtype!r} is not offered by provider {self.name!r}; it has: {offered}",
        )
