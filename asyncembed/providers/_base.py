"""What a provider is: declared facts, and a function only where an API needs one."""

from __future__ import annotations

import os
import re
from collections.abc import Container, Mapping  # for `typing.get_type_hints`
from copy import copy
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, ClassVar, Final, Literal, NamedTuple, Self, TypeAlias

from asyncembed._config import check
from asyncembed._exceptions import ConfigurationError
from asyncembed._http.route import Route, escape, secure_host
from asyncembed._parser.layout import Layout
from asyncembed._repr import ShortRepr

if TYPE_CHECKING:
    from collections.abc import Sequence

    from asyncembed._config import Dtype, EmbedOptions, LongText
    from asyncembed._decide.signs import Sign
    from asyncembed._models import Limits
    from asyncembed._ratelimit import RateLimit

Encoding: TypeAlias = Literal["base64", "float"]
"""How vectors travel."""
Fact: TypeAlias = Literal["texts", "model", "input_type", "dimensions", "truncate", "dtype", "encoding"]
"""What a request may say, by our name for it."""
Fields: TypeAlias = Mapping[Fact, str]
Words: TypeAlias = Mapping[Fact, Mapping[object, object]]
Base64: TypeAlias = Literal["no", "offered", "seen"]
"""What is known of an API's base64: nothing; its documents promise it; it was recorded."""

OPTIONAL: Final = ("input_type", "dimensions", "truncate")
INPUT_TYPES: Final = ("document", "query", "none")
"""Words that every provider takes for what texts are; "none" sends nothing."""


class Price(NamedTuple):
    """What an API charges.

    Attributes:
        dollars: US dollars for a million tokens.
        date: Month in which that was read, as "2026-11".
    """

    dollars: float
    date: str


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Model(ShortRepr):
    """What is known of one model; of a model that no table lists, nothing is known.

    Attributes:
        dimension: Length of its vectors, where none is asked for.
        dimensions: Lengths that may be asked for; empty if there is only one, None if they are not known.
        unit: Lengths at which its vectors are of length 1; None if that is not known.
        limits: What one request may hold, where it differs from the provider's limits.
        max_tokens: Most tokens of one text.
        input_types: Its words for what texts are, where they differ from the provider's; empty if it takes none.
        prompts: What the client puts before a text, by "document" and "query", because the API does not.
        dtypes: Types of numbers, where they differ from the provider's.
        price: What the provider charges.
        space: Name of the vector space that it shares with other models; vectors of one search those of another.
    """

    dimension: int | None = None
    dimensions: Container[int] | None = None
    unit: Container[int] | None = None
    limits: Limits | None = None
    max_tokens: int | None = None
    input_types: Mapping[str, str | None] | None = None
    prompts: Mapping[str, str] = field(default_factory=dict)
    dtypes: frozenset[Dtype] | None = None
    price: Price | None = None
    space: str | None = None


Models: TypeAlias = Mapping[str, Model]
UNKNOWN: Final = Model()


@dataclass(frozen=True, slots=True, kw_only=True)
class BothEncodings:
    """How to get numbers and base64 in one response, so that the base64 can be compared with the numbers.

    Attributes:
        fields: Fields of the request, instead of those that ask for numbers alone.
        place: Where the base64 lies in the response, which has the numbers where they always are.
    """

    fields: Mapping[str, object]
    place: str


@dataclass(frozen=True, slots=True, repr=False)
class Setting(ShortRepr):
    """A part of the address that the caller, an environment variable or a default gives."""

    variables: tuple[str, ...] = ()
    default: str | None = None

    @property
    def value(self) -> str | None:
        """What the environment or the default says."""
        found = (os.environ.get(name, "").strip() for name in self.variables)
        return next(filter(None, found), self.default)


class Provider:
    """A wire format and the habits of the service behind it. Subclass it to teach the client a new API.

    Declared facts are enough for most APIs; override a method only where an API needs more.

    Args:
        settings: Parts of the address, such as `region="eu-west-1"`, instead of those from the environment. A hyphen in
            the name of a setting may be written as an underscore.

    Raises:
        ConfigurationError: if the API has no such setting.
    """

    # Where it is
    name: ClassVar[str]
    base_url: ClassVar[str | None] = None
    """Where the service is, with `{name}` for each of `settings`; None if the caller has to say it."""
    base_url_variable: ClassVar[str | None] = None
    adds_scheme: ClassVar[bool] = False
    """Whether the address in that variable may lack its `http://`."""
    hosts: ClassVar[tuple[str, ...]] = ()
    """Further hosts of the service, with `*` for any part of a name."""
    is_embedded: ClassVar[bool] = False
    """Whether the client starts the server where no address is given."""
    path: ClassVar[str]
    """Of the endpoint, below the address; `{model}` stands for the escaped model, `{model/}` keeps its slashes."""
    query: ClassVar[Mapping[str, Setting]] = {}
    settings: ClassVar[Mapping[str, Setting]] = {}
    limits_path: ClassVar[str | None] = None
    """Where the server tells its own limits, below the address; `read_limits` reads the answer."""

    # Who asks
    key_variables: ClassVar[tuple[str, ...]] = ()
    """Environment variables that may hold the key, the first one set wins; none if no key is needed."""
    key_header: ClassVar[tuple[str, str]] = ("Authorization", "Bearer {}")
    """Header that carries the key, and its form."""
    header_variables: ClassVar[Mapping[str, str]] = {}
    """Further request headers, by the environment variable that holds their value."""

    # What may be asked
    default_model: ClassVar[str]
    """Empty if the caller has to name the model."""
    models: ClassVar[Models] = {}
    limits: ClassVar[Limits]
    rate_limit: ClassVar[RateLimit | None] = None
    """What the service allows in a minute, where it has published that."""
    max_concurrency: ClassVar[int | None] = None
    """Most requests at once to begin with, where the service has published that."""
    fields: ClassVar[Fields] = {}
    """Its names for what it can be told; where two facts share a name, the later one that is not left out wins."""
    words: ClassVar[Words] = {}
    """Its words, by ours: None leaves the field out, and a dict stands for several fields. What is not listed is sent
    as it is, unless the fact is in `closed`."""
    closed: ClassVar[frozenset[Fact]] = frozenset()
    """Facts for which `words` are all there are."""
    long_text: ClassVar[Mapping[LongText, str]] = {}
    """Its values of `truncate` that mean our "fail" and "truncate"; empty if it cannot be told."""
    refuses_long_texts: ClassVar[bool] = False
    """Whether it refuses a text that is too long even if it is told nothing; otherwise it may cut the text silently."""
    dtypes: ClassVar[frozenset[Dtype]] = frozenset({"float32"})
    base64: ClassVar[Base64] = "no"
    both_encodings: ClassVar[BothEncodings | None] = None
    """How to see whether its base64 is right, where it was not recorded."""

    # What comes back
    answer: ClassVar[Layout] = Layout(vectors=frozenset())
    """Where the vectors lie in a response."""
    token_header: ClassVar[str | None] = None
    """Header that says how many tokens were billed, where the body does not."""
    signs: ClassVar[tuple[Sign, ...]] = ()
    """What errors of this API mean, where that is not what they mean everywhere."""

    _known: Model | None = None

    def __init__(self, **settings: str) -> None:
        known = {_plain(name): name for name in (*self.settings, *self.query)}
        if unknown := sorted(name for name in settings if _plain(name) not in known):
            has = ", ".join(known) or "none"
            raise ConfigurationError(f"{type(self).__name__} has no setting {', '.join(unknown)}; it has: {has}")
        self._given = {known[_plain(name)]: value for name, value in settings.items()}

    @property
    def options(self) -> frozenset[str]:
        """Which of `input_type`, `dimensions` and `truncate` the API knows."""
        return frozenset(OPTIONAL) & self.fields.keys()

    # Where it is

    def address(self) -> str | None:
        """Return the address of the service, None if the caller has to say it.

        Raises:
            ConfigurationError: if a part of it is not set.
        """
        return self.base_url and self.base_url.format_map(self.setting_values(self.settings))

    def owns(self, url: str) -> bool:
        """Whether an address is the service's own, so that its models are what their names say."""
        if any(fnmatchcase(secure_host(url), host) for host in self.hosts):
            return True
        try:
            own = self.address()
        except ConfigurationError:  # a part of it is not set, and need not be
            return False
        return own is not None and url.rstrip("/") == own.rstrip("/")

    def route(self, model: str) -> Route:
        """Return path and query of the endpoint for a model.

        Raises:
            ConfigurationError: if a part of them is not set.
        """
        path = self.path.replace("{model/}", escape(model, "/@")).replace("{model}", escape(model))
        needed = {name: setting for name, setting in self.settings.items() if f"{{{name}}}" in path}
        for name, value in self.setting_values(needed).items():
            path = path.replace(f"{{{name}}}", escape(value))
        return Route(path, tuple(self.setting_values(self.query).items()))

    def endpoint(self, model: str) -> re.Pattern[str]:
        """Return what finds the endpoint at the end of a path.

        Any model is found whose name is one part of the path; where a name may have several, only `model`.
        """
        parts = re.split(r"(\{.*?\})", self.path)
        known = {"{model/}": re.escape(escape(model, "/@"))}
        found = [known.get(part, "[^/]+") if part.startswith("{") else re.escape(part) for part in parts]
        return re.compile("".join(found) + r"\Z")

    def setting_values(self, settings: Mapping[str, Setting]) -> dict[str, str]:
        """Return the values of settings, by name.

        Raises:
            ConfigurationError: if one of them is not set.
        """
        found = {name: self._given.get(name) or setting.value for name, setting in settings.items()}
        if missing := [name for name, value in found.items() if not value]:
            ways = ", ".join(_way_to_set(name, settings[name]) for name in missing)
            raise ConfigurationError(f"provider {self.name!r} needs {ways}")
        return {name: value for name, value in found.items() if value}

    # Who asks

    @property
    def needs_key(self) -> bool:
        """Whether there has to be a key at the service's own address."""
        return bool(self.key_variables)

    def headers(self, api_key: str | None) -> dict[str, str]:
        """Return the headers that carry the key."""
        name, form = self.key_header
        return {name: form.format(api_key)} if api_key else {}

    async def authorize(self, api_key: str | None, url: str, body: bytes) -> Mapping[str, str]:  # noqa: ARG002
        """Return the headers that say who asks, before each attempt; by default `headers(api_key)`.

        Override it where they depend on the request, as a signature does.

        Args:
            api_key: The key that holds now, None if there is none.
            url: The address of the request, as it is sent.
            body: The body of the request.
        """
        return self.headers(api_key)

    # What is known of its models

    def knowing(self, model: Model) -> Self:
        """Return a provider for which every name of a model means this one."""
        provider = copy(self)
        provider._known = model  # noqa: SLF001  # our own class
        return provider

    @property
    def is_told_model(self) -> bool:
        """Whether the caller has said which model is meant, whatever its name is."""
        return self._known is not None

    def model(self, name: str) -> Model:
        """Return what is known of a model."""
        return self._known or self.models.get(name, UNKNOWN)

    def limits_of(self, model: str) -> Limits:
        """Return what one request to a model may hold."""
        return self.model(model).limits or self.limits

    def read_limits(self, told: Mapping[str, object]) -> Limits:  # noqa: ARG002
        """Return what one request may hold, as the server has told it at `limits_path`."""
        return self.limits

    def dimension(self, options: EmbedOptions) -> int | None:
        """Return the dimension of the vectors, if it is asked for or known."""
        asked = options.extra.get(self.fields.get("dimensions", ""))
        return options.dimensions or (asked if isinstance(asked, int) else self.model(options.model).dimension)

    def input_type(self, options: EmbedOptions) -> str | None:
        """Return the API's own word for what the texts are; None if it is told nothing."""
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
        """Return what the client has to put before each text, as neither the API nor the caller does it."""
        return self.model(options.model).prompts.get(options.input_type or "document", "")

    # What is sent and what comes back

    def body(self, texts: Sequence[str], options: EmbedOptions, encoding: Encoding) -> dict[str, object]:
        """Return the JSON body of a request; fields that are None are left out."""
        body: dict[str, object] = {}
        for fact, name in self.fields.items():
            value = texts if fact == "texts" else self._word(fact, options, encoding)
            if isinstance(value, dict):
                body |= value
            elif value is not None or name not in body:
                body[name] = value
        return body

    def add(self, body: dict[str, object], extra: Mapping[str, object]) -> dict[str, object]:
        """Return the body with fields that only this server knows."""
        return {**body, **extra}

    def layout(self, options: EmbedOptions, encoding: Encoding) -> Layout:  # noqa: ARG002
        """Say where the vectors lie in the response to such a request."""
        return self.answer

    # What cannot be asked

    def check(self, options: EmbedOptions) -> None:
        """Raise `ConfigurationError` for an option that this API does not have."""
        for option in OPTIONAL:
            given = getattr(options, option)
            if given is not None:
                self._check_option(option, given, options)
        self._check_dtype(options, self.dtypes)

    def check_model(self, options: EmbedOptions) -> None:
        """Raise `ConfigurationError` for what the model does not have, if it is known."""
        model = self.model(options.model)
        sizes, asked = model.dimensions, options.dimensions
        if asked and sizes is not None and asked not in sizes and asked != model.dimension:
            raise ConfigurationError(
                f"dimensions={asked} is not a length that {options.model!r} is known to have; to ask for it all the "
                f"same, pass extra={{{self.fields['dimensions']!r}: {asked}}}"
            )
        self._check_dtype(options, model.dtypes or self.dtypes)

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


def with_scheme(address: str) -> str:
    """Return an address with a scheme, which variables such as `OLLAMA_HOST` leave out."""
    return address if re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", address) else f"http://{address}"


def _plain(name: str) -> str:
    return name.replace("-", "_")


def _way_to_set(name: str, setting: Setting) -> str:
    variables = f" (variable {' or '.join(setting.variables)})" if setting.variables else ""
    return f"the setting {_plain(name)}{variables}"
