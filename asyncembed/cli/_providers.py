"""`asyncembed providers`, and the options that configure a provider: `--setting`, `--base-url` and `--extra`."""

from __future__ import annotations

from typing import TYPE_CHECKING, get_args

import orjson
from rich.text import Text

from asyncembed import ConfigurationError, Dtype
from asyncembed.cli._console import stdout
from asyncembed.providers import PROVIDERS, get_provider

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from asyncembed import Limits, Provider


_BASE64 = {"no": "no", "offered": "on request", "seen": "yes"}


def provider_with(name: str, settings: Sequence[str]) -> str | Provider:
    """Return the named provider with settings such as "region=eu-west-1".

    Raises:
        ConfigurationError: if a setting is unknown to the provider or not written as name=value.
    """
    if not settings:
        return name
    pairs = [setting.partition("=") for setting in settings]
    if wrong := [setting for setting, (_, sign, value) in zip(settings, pairs, strict=True) if not (sign and value)]:
        raise ConfigurationError(f"--setting {wrong[0]!r} must be written as name=value")
    provider_class = type(get_provider(name))
    return provider_class(**{setting: value for setting, _, value in pairs})


def parse_extra(fields: Sequence[str]) -> dict[str, object]:
    """Return the fields of `--extra` for the request body.

    Args:
        fields: `NAME=VALUE` strings. A value that is not valid JSON is text.

    Raises:
        ConfigurationError: if a name is missing or repeated.
    """
    extra: dict[str, object] = {}
    for field in fields:
        name, sign, value = field.partition("=")
        if not sign or not name:
            raise ConfigurationError("--extra needs a name and a value: --extra NAME=VALUE")
        if name in extra:
            raise ConfigurationError(f"--extra {name} is given twice")
        try:
            extra[name] = orjson.loads(value)
        except orjson.JSONDecodeError:
            extra[name] = value
    return extra


def check_base_url(provider: str | Provider, base_url: str | None) -> None:
    """Raise `ConfigurationError` if `--base-url` is given for the embedded server, which the command starts itself."""
    if base_url and get_provider(provider).is_embedded:
        raise ConfigurationError(
            "--base-url cannot be combined with --provider local, which starts the embedded server; choose the API of "
            "the server at that address: --provider openai (the address then ends in /v1) or --provider cohere"
        )


def show_providers(name: str | None = None) -> None:
    """Print a table of all providers, or the facts about one provider and its models.

    Raises:
        ConfigurationError: if no provider has that name.
    """
    if name is not None:
        _show_provider(get_provider(name))
        return
    rows = [
        (
            "provider",
            "default model",
            "dimension",
            "texts per request",
            "tokens per request",
            "base64",
            "dtypes",
            "API key variable",
        )
    ]
    for provider in PROVIDERS.values():
        model = provider.models.get(provider.default_model)
        rows.append((
            provider.name,
            provider.default_model or "-",
            str(model.dimension) if model else "-",
            _texts(provider.limits),
            f"{provider.limits.tokens:,}" if provider.limits.tokens else "-",
            "compared" if provider.both_encodings else _BASE64[provider.base64],
            "all" if len(provider.dtypes) == len(get_args(Dtype)) else ", ".join(sorted(provider.dtypes)),
            " or ".join(provider.key_variables) or "none",
        ))
    _print_columns(rows)


def _show_provider(provider: Provider) -> None:
    console = stdout()
    for fact, value in _facts(provider):
        console.print(Text(f"{fact:<12}", "bold").append(value, "not bold"))
    rows = [
        (
            "model",
            "dimension",
            "shorter",
            "tokens per text",
            "texts per request",
            "$ per million tokens",
            "vector space",
        )
    ]
    for name, model in provider.models.items():
        shortenable = "?" if model.dimensions is None else "yes" if model.dimensions else "no"
        price = f"{model.price.dollars:g} in {model.price.date}" if model.price else "-"
        max_tokens = f"{model.max_tokens:,}" if model.max_tokens else "-"
        max_tokens += f" ({model.max_characters:,} characters)" if model.max_characters else ""
        limits = _texts(model.limits or provider.limits)
        rows.append((name, str(model.dimension), shortenable, max_tokens, limits, price, model.space or "-"))
    if provider.models:
        _print_columns(rows)


def _print_columns(rows: Sequence[Sequence[str]]) -> None:
    """Print the heading and the rows without wrapping, so that tools such as grep and cut can process them."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for number, row in enumerate(rows):
        line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        stdout().print(Text(line, "" if number else "bold"), soft_wrap=True)


def _facts(provider: Provider) -> Iterator[tuple[str, str]]:
    yield "provider", provider.name
    yield "address", provider.base_url or ("the embedded server" if provider.is_embedded else "set it with --base-url")
    yield "path", provider.path
    if provider.base_url_variable:
        yield "variable", provider.base_url_variable
    yield "key", " or ".join(provider.key_variables) or "none"
    for setting, fact in {**provider.settings, **provider.query}.items():
        default = f"default {fact.default}" if fact.default else "required"
        yield "setting", f"{setting}, from {' or '.join(fact.variables) or '--setting'}; {default}"
    yield "options", ", ".join(sorted(provider.options)) or "none"
    words = provider.words.get("input_type", {})
    yield "input types", _words(words) or "none of its own"


def _words(words: Mapping[object, object]) -> str:
    return ", ".join(f"{ours}: {theirs}" for ours, theirs in words.items() if theirs)


def _texts(limits: Limits) -> str:
    return f"{limits.inputs:,}" if limits.first is None else f"from {limits.first:,}"
