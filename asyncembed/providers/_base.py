"""The interface of a provider: declared facts, and a method only where facts are not enough."""

from __future__ import annotations

import os
import re
from collections.abc import Container, Mapping  # for `typing.get_type_hints`
from copy import copy
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import partial
from typing import TYPE_CHECKING, ClassVar, Final, Literal, NamedTuple, Self, TypeAlias, get_args

from asyncembed._config import LongText, check  # `LongText` for `typing.get_type_hints`
from asyncembed._exceptions import ConfigurationError
from asyncembed._http.route import Route, escape, secure_host
from asyncembed._parser.layout import Layout
from asyncembed._repr import ShortRepr

if TYPE_CHECKING:
    from collections.abc import Sequence

    from asyncembed._config import Dtype, EmbedOptions
    from asyncembed._decide.signs import Sign
    from asyncembed._models import Limits
    from asyncembed._ratelimit import RateLimit

Encoding: TypeAlias = Literal["base64", "float"]
"""The form in which a response carries vectors."""
Fact: TypeAlias = Literal["texts", "model", "input_type", "dimensions", "truncate", "dtype", "encoding"]
"""Our names for what a request can say."""
Fields: TypeAlias = Mapping[Fact, str]
Words: TypeAlias = Mapping[Fact, Mapping[object, object]]
Base64: TypeAlias = Literal["no", "offered", "seen"]
"""Evidence for an API's base64: there is none; its documents promise it; recorded responses hold it."""

OPTIONAL: Final = ("input_type", "dimensions", "truncate")
INPUT_TYPES: Final = ("document", "query", "none")
"""Values of `input_type` that every provider accepts; "none" sends nothing."""


class Price(NamedTuple):
    """The price of a model.

    Attributes:
        dollars: US dollars per million tokens.
        date: Month in which the provider published this price, such as "2026-11".
    """

    dollars: float
    date: str


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Model(ShortRepr):
    """Facts about one model; all are optional, and a model without an entry has none.

    Attributes:
        dimension: Number of dimensions of its vectors by default.
        dimensions: Numbers of dimensions that a request may ask for; empty if there is only one, None if unknown.
        unit: Numbers of dimensions at which its vectors have length 1; None if unknown.
        limits: Limits of one request, where they differ from the provider's.
        max_tokens: Maximum number of tokens of one text.
        max_characters: Maximum number of characters of one text, where the API has such a limit besides.
        input_types: Its values for `input_type`, where they differ from the provider's; empty if it has none.
        prompts: Text that the client puts before each text because the API does not, by "document" and "query".
        dtypes: Types of numbers, where they differ from the provider's.
        price: The provider's price.
        space: Name of the vector space that it shares with other models, whose vectors it can search.
    """

    dimension: int | None = None
    dimensions: Container[int] | None = None
    unit: Container[int] | None = None
    limits: Limits | None = None
    max_tokens: int | None = None
    max_characters: int | None = None
    input_types: Mapping[str, str | None] | None = None
    prompts: Mapping[str, str] = field(default_factory=dict)
    dtypes: frozenset[Dtype] | None = None
    price: Price | None = None
    space: str | None = None


Models: TypeAlias = Mapping[str, Model]
UNKNOWN: Final = Model()


@dataclass(frozen=True, slots=True, kw_only=True)
class BothEncodings:
    """How to get numbers and base64 in one response, so that the client can compare them.

    Attributes:
        fields: Fields of the request that replace those for numbers alone.
        place: Place of the base64 in the response; the numbers stay in their usual place.
    """

    fields: Mapping[str, object]
    place: str


@dataclass(frozen=True, slots=True, repr=False)
class Setting(ShortRepr):
    """A part of the address; its value comes from the caller, an environment variable or a default."""

    variables: tuple[str, ...] = ()
    default: str | None = None

    @property
    def value(self) -> str | None:
        """The value from the environment, or else the default."""
        found = (os.environ.get(name, "").strip() for name in self.variables)
        return next(filter(None, found), self.default)


class Provider:
    """A wire format and the habits of the service behind it. Subclass it to teach the client a new API.

    Declared facts are enough for most APIs; override a method only where an API needs more.

    Args:
        settings: Parts of the address, such as `region="eu-west-1"`, that replace those from the environment. Write a
            hyphen in the name of a setting as an underscore.

    Raises:
        ConfigurationError: the API has no such setting.
    """

    # Address
    name: ClassVar[str]
    base_url: ClassVar[str | None] = None
    """Address of the service, with `{name}` for each of `settings`; None if the caller has to pass it."""
    base_url_variable: ClassVar[str | None] = None
    adds_scheme: ClassVar[bool] = False
    """Whether the address in that variable may be written without `http://`, without a host, or in quotes."""
    default_port: ClassVar[int | None] = None
    """Port of such an address if it has neither `http://` nor a port."""
    hosts: ClassVar[tuple[str, ...]] = ()
    """Other hosts of the service; `*` stands for any part of a name."""
    is_embedded: ClassVar[bool] = False
    """Whether the client starts the embedded server if the caller passes no address."""
    path: ClassVar[str]
    """Path of the endpoint below the address; `{model}` stands for the escaped model, `{model/}` keeps its slashes."""
    query: ClassVar[Mapping[str, Setting]] = {}
    settings: ClassVar[Mapping[str, Setting]] = {}
    limits_path: ClassVar[str | None] = None
    """Path below the address at which the server publishes its own limits; `read_limits` reads the answer."""

    # Access
    key_variables: ClassVar[tuple[str, ...]] = ()
    """Environment variables that may hold the key; the first one that is set wins. Empty if the API needs no key."""
    key_header: ClassVar[tuple[str, str]] = ("Authorization", "Bearer {}")
    """The header that carries the key, and the form of its value."""
    header_variables: ClassVar[Mapping[str, str]] = {}
    """Other request headers, each with the environment variable that holds its value."""

    # Requests
    default_model: ClassVar[str]
    """The model if the caller names none; empty if the caller has to name one."""
    models: ClassVar[Models] = {}
    limits: ClassVar[Limits]
    rate_limit: ClassVar[RateLimit | None] = None
    """Rate limit that the service has published."""
    max_concurrency: ClassVar[int | None] = None
    """Number of concurrent requests that the service allows, where it publishes one; the client starts with no more."""
    fields: ClassVar[Fields] = {}
    """Its field names. If two facts share a field, the last one that has a value fills it."""
    words: ClassVar[Words] = {}
    """Its values for ours: None omits the field, and a dict sets several fields. The client sends a value that is not
    listed as it is, unless the fact is in `closed`."""
    closed: ClassVar[frozenset[Fact]] = frozenset()
    """Facts for which the API knows no other values than those in `words`."""
    long_text: ClassVar[Mapping[LongText, str]] = {}
    """Its values of `truncate` that mean our "fail" and "truncate"; empty if it cannot be told."""
    refuses_long_texts: ClassVar[bool] = False
    """Whether it refuses a text that is too long even if it is told nothing; otherwise it may cut the text silently."""
    dtypes: ClassVar[frozenset[Dtype]] = frozenset({"float32"})
    base64: ClassVar[Base64] = "no"
    both_encodings: ClassVar[BothEncodings | None] = None
    """How to check its base64, where no recorded response holds any."""

    # Responses
    answer: ClassVar[Layout] = Layout(vectors=frozenset())
    """The place of the vectors in a response."""
    token_header: ClassVar[str | None] = None
    """Header with the number of billed tokens, where the body has none."""
    signs: ClassVar[tuple[Sign, ...]] = ()
    """Meanings of this API's errors, where they differ from those of other APIs."""

    _known: Model | None = None

    def __init__(self, **settings: str) -> None:
        known = {_plain(name): name for name in (*self.settings, *self.query)}
        if unknown := sorted(name for name in settings if _plain(name) not in known):
            has = ", ".join(known) or "none"
            raise ConfigurationError(f"{type(self).__name__} has no setting {', '.join(unknown)}; it has: {has}")
        self._given = {known[_plain(name)]: value for name, value in settings.items()}

    @property
    def options(self) -> frozenset[str]:
        """Those of `input_type`, `dimensions` and `truncate` that the API has."""
        return frozenset(OPTIONAL) & self.fields.keys()

    # Address

    def address(self) -> str | None:
        """Return the address of the service, or None if the caller has to pass it.

        Raises:
            ConfigurationError: a part of it is not set.
        """
        return self.base_url and self.base_url.format_map(self.setting_values(self.settings))

    def owns(self, url: str) -> bool:
        """Return whether an address belongs to the service itself, so that its models are what their names say."""
        if any(fnmatchcase(secure_host(url), host) for host in self.hosts):
            return True
        try:
            own = self.address()
        except ConfigurationError:  # a part of it is not set, which is no error where the caller passes an address
            return False
        return own is not None and url.rstrip("/") == own.rstrip("/")

    def route(self, model: str) -> Route:
        """Return path and query of the endpoint for a model.

        Raises:
            ConfigurationError: a part of them is not set.
        """
        path = self.path.replace("{model/}", escape(model, "/@")).replace("{model}", escape(model))
        needed = {name: setting for name, setting in self.settings.items() if f"{{{name}}}" in path}
        for name, value in self.setting_values(needed).items():
            path = path.replace(f"{{{name}}}", escape(value))
        return Route(path, tuple(self.setting_values(self.query).items()))

    def endpoint(self, model: str) -> re.Pattern[str]:
        """Return a pattern that finds the endpoint, or only the version that it starts with, at the end of a path.

        It matches any model whose name is one segment of the path. Where a name may have several segments, it matches
        only `model`.
        """
        parts = re.split(r"(\{.*?\})", self.path)
        known = {"{model/}": re.escape(escape(model, "/@"))}
        found = [known.get(part, "[^/]+") if part.startswith("{") else re.escape(part) for part in parts]
        forms = ["".join(found), *re.findall(r"\A/v\d\w*(?=/)", self.path)]
        return re.compile(rf"(?:{'|'.join(forms)})\Z")

    def setting_values(self, settings: Mapping[str, Setting]) -> dict[str, str]:
        """Return the values of settings, by name.

        Raises:
            ConfigurationError: one of them is not set.
        """
        found = {name: self._given.get(name) or setting.value for name, setting in settings.items()}
        if missing := [name for name, value in found.items() if not value]:
            ways = ", ".join(_way_to_set(name, settings[name]) for name in missing)
            raise ConfigurationError(f"provider {self.name!r} needs {ways}")
        return {name: value for name, value in found.items() if value}

    # Access

    @property
    def needs_key(self) -> bool:
        """Whether the service needs a key at its own address."""
        return bool(self.key_variables)

    def headers(self, api_key: str | None) -> dict[str, str]:
        """Return the headers that carry the key."""
        name, form = self.key_header
        return {name: form.format(api_key)} if api_key else {}

    async def authorize(self, api_key: str | None, url: str, body: bytes) -> Mapping[str, str]:  # noqa: ARG002
        """Return the headers that authorize one attempt; by default `headers(api_key)`.

        The client calls it before each attempt. Override it if the headers depend on the request, as a signature does.

        Args:
            api_key: The current key, or None.
            url: The address of the request, as the client sends it.
            body: The body of the request.
        """
        return self.headers(api_key)

    # Models

    def with_model(self, model: Model) -> Self:
        """Return a copy of the provider that takes every model name for this model."""
        provider = copy(self)
        provider._known = model  # noqa: SLF001  # an object of this class
        return provider

    @property
    def has_given_model(self) -> bool:
        """Whether the caller has passed the facts about the model, whatever its name is."""
        return self._known is not None

    def model(self, name: str) -> Model:
        """Return the facts about a model."""
        return self._known or self.models.get(name, UNKNOWN)

    def limits_of(self, model: str) -> Limits:
        """Return the limits of one request to a model."""
        return self.model(model).limits or self.limits

    def read_limits(self, info: Mapping[str, object]) -> Limits:  # noqa: ARG002
        """Return the limits of one request, from the server's answer at `limits_path`."""
        return self.limits

    def dimension(self, options: EmbedOptions) -> int | None:
        """Return the dimension of the vectors, if the request or the table of models has it."""
        return self._asked_dimension(options) or self.model(options.model).dimension

    def input_type(self, options: EmbedOptions) -> str | None:
        """Return the API's own value for `input_type`, or None if the request has none."""
        given = options.input_type or "document"
        own = self.model(options.model).input_types
        words = self.words.get("input_type", {}) if own is None else own
        if "input_type" not in self.fields or given == "none" or own == {}:
            return None
        if given in INPUT_TYPES:
            word = words.get(given)
            return None if word is None else str(word)
        return str(words.get(given, given))

    def truncation(self, options: EmbedOptions) -> str | None:
        """Return what the API is told to do with a text that is too long; None if it is told nothing."""
        if options.truncate is not None or options.long_text is None:
            return options.truncate
        is_in_extra = self.fields.get("truncate") in options.extra
        return None if is_in_extra else self.long_text.get(options.long_text)

    def prompt(self, options: EmbedOptions) -> str:
        """Return the text that the client puts before each text, because neither the API nor the caller does."""
        return self.model(options.model).prompts.get(options.input_type or "document", "")

    # Requests and responses

    def body(self, texts: Sequence[str], options: EmbedOptions, encoding: Encoding) -> dict[str, object]:
        """Return the JSON body of a request; the client omits fields that are None."""
        body: dict[str, object] = {}
        for fact, name in self.fields.items():
            value = texts if fact == "texts" else self._word(fact, options, encoding)
            if isinstance(value, dict):
                body |= value
            elif value is not None or name not in body:
                body[name] = value
        return body

    def add(self, body: dict[str, object], extra: Mapping[str, object]) -> dict[str, object]:
        """Return the body with the caller's extra fields."""
        return {**body, **extra}

    def own_fields(self, options: EmbedOptions) -> set[str]:
        """Return the names of the fields that a request fills from the options, which `extra` must not contain."""
        makers = (self.body, partial(Provider.body, self))  # the second has the fields that the first may nest
        bodies = [make([], options, encoding) for make in makers for encoding in get_args(Encoding)]
        return {name for body in bodies for name, value in body.items() if value is not None}

    def layout(self, options: EmbedOptions, encoding: Encoding) -> Layout:  # noqa: ARG002
        """Return the place of the vectors in the response to such a request."""
        return self.answer

    # Checks

    def check(self, options: EmbedOptions) -> None:
        """Raise `ConfigurationError` for an option that the API does not have."""
        for option in OPTIONAL:
            given = getattr(options, option)
            if given is not None:
                self._check_option(option, given, options)
        self._check_dtype(options, self.dtypes)
        asked = self._asked_dimension(options)
        check(
            options.dtype not in {"binary", "ubinary"} or not asked or asked % 8 == 0,
            f"dimensions={asked} must be a multiple of 8 for dtype={options.dtype!r}, which packs 8 of them in a byte",
        )

    def check_model(self, options: EmbedOptions) -> None:
        """Raise `ConfigurationError` for an option that the model is known not to have."""
        model = self.model(options.model)
        sizes, asked = model.dimensions, options.dimensions
        if asked and sizes is not None and asked not in sizes and asked != model.dimension:
            raise ConfigurationError(
                f"dimensions={asked} is not a known number of dimensions of {options.model!r}; to send it anyway, pass "
                f"extra={{{self.fields['dimensions']!r}: {asked}}}"
            )
        self._check_dtype(options, model.dtypes or self.dtypes)

    def _asked_dimension(self, options: EmbedOptions) -> int | None:
        extra = options.extra.get(self.fields.get("dimensions", ""))
        return options.dimensions or (extra if isinstance(extra, int) else None)

    def _check_dtype(self, options: EmbedOptions, offered: frozenset[Dtype]) -> None:
        check(
            options.dtype in offered,
            f"dtype={options.dtype!r} is not offered by provider {self.name!r}; it has: {', '.join(sorted(offered))}",
        )

    def _check_option(self, option: Fact, given: object, options: EmbedOptions) -> None:
        if option == "input_type" and given in INPUT_TYPES:
            return
        takes_none = option == "input_type" and self.model(options.model).input_types == {}
        if option not in self.options or takes_none:
            known = ", ".join(sorted(self.options)) or "none of its kind"
            hint = "; every provider takes 'document', 'query' and 'none'" if option == "input_type" else ""
            raise ConfigurationError(
                f"{option}={given!r} is not an option of provider {self.name!r} (it has: {known}){hint}; "
                f"fields that only this server knows can be passed with extra={{...}}"
            )
        words = self.words.get(option, {})
        if option in self.closed and given not in words:
            known = ", ".join(repr(word) for word in words if word is not None)
            raise ConfigurationError(f"{option}={given!r} is not known to provider {self.name!r}; use one of {known}")

    def _word(self, fact: Fact, options: EmbedOptions, encoding: Encoding) -> object:
        if fact == "input_type":
            return self.input_type(options)
        if fact == "truncate":
            value: object = self.truncation(options)
        else:
            value = encoding if fact == "encoding" else getattr(options, fact)
        return self.words.get(fact, {}).get(value, value)


def _plain(name: str) -> str:
    return name.replace("-", "_")


def _way_to_set(name: str, setting: Setting) -> str:
    variables = f" (variable {' or '.join(setting.variables)})" if setting.variables else ""
    return f"the setting {_plain(name)}{variables}"
