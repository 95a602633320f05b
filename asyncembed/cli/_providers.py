"""`asyncembed providers`: what each provider is, as a table; and settings of one, as they are given to commands."""

from __future__ import annotations

from typing import TYPE_CHECKING, get_args

from rich.text import Text

from asyncembed import ConfigurationError, Dtype
from asyncembed.cli._console import stdout
from asyncembed.providers import PROVIDERS, get_provider

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from asyncembed import Limits, Provider


_BASE64 = {"no": "no", "offered": "on request", "seen": "yes"}


def provider_with(name: str, settings: Sequence[str]) -> str | Provider:
    """Return the provider of a name with settings such as "region=eu-west-1".

    Raises:
        ConfigurationError: if it has no such setting, or one is not written so.
    """
    if not settings:
        return name
    pairs = [setting.partition("=") for setting in settings]
    if wrong := [setting for setting, (_, sign, value) in zip(settings, pairs, strict=True) if not (sign and value)]:
        raise ConfigurationError(f"--setting {wrong[0]!r} must be written as name=value")
    kind = type(get_provider(name))
    return kind(**{setting: value for setting, _, value in pairs})


def check_base_url(provider: str | Provider, base_url: str | None) -> None:
    """Raise `ConfigurationError` if an address was given for the embedded server, which the command starts itself."""
    if base_url and get_provider(provider).is_embedded:
        raise ConfigurationError(
            "--base-url does not go with --provider local, which starts the embedded server; name the API that the "
            "server at that address speaks: --provider openai (the address then ends in /v1) or --provider cohere"
        )


def show_providers(name: str | None = None) -> None:
    """Print the table of all providers, or what is known of one and of its models.

    Raises:
        ConfigurationError: if no provider has that name.
    """
    if name is not None:
        _show_provider(get_provider(name))
        return
    rows = [("provider", "default model", "dimension", "texts", "tokens", "base64", "types", "key")]
    for kind in PROVIDERS.values():
        model = kind.models.get(kind.default_model)
        rows.append((
            kind.name,
            kind.default_model or "-",
            str(model.dimension) if model else "-",
            _texts(kind.limits),
            f"{kind.limits.tokens:,}" if kind.limits.tokens else "-",
            "compared" if kind.both_encodings else _BASE64[kind.base64],
            "all" if len(kind.dtypes) == len(get_args(Dtype)) else ", ".join(sorted(kind.dtypes)),
            " or ".join(kind.key_variables) or "none",
        ))
    _print_columns(rows)


def _show_provider(provider: Provider) -> None:
    console = stdout()
    for fact, value in _facts(provider):
        console.print(Text(f"{fact:<12}", "bold").append(value, "not bold"))
    rows = [("model", "dimension", "others", "tokens a text", "texts", "$ a million tokens", "space")]
    for name, model in provider.models.items():
        others = "?" if model.dimensions is None else "yes" if model.dimensions else "no"
        price = f"{model.price.dollars:g} in {model.price.date}" if model.price else "-"
        most = f"{model.max_tokens:,}" if model.max_tokens else "-"
        limits = _texts(model.limits or provider.limits)
        rows.append((name, str(model.dimension), others, most, limits, price, model.space or "-"))
    if provider.models:
        _print_columns(rows)


def _print_columns(rows: Sequence[Sequence[str]]) -> None:
    """Print rows below their heading, each on one line, so that they can be searched and cut."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for number, row in enumerate(rows):
        line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        stdout().print(Text(line, "" if number else "bold"), soft_wrap=True)


def _facts(provider: Provider) -> Iterator[tuple[str, str]]:
    yield "provider", provider.name
    yield "address", provider.base_url or ("the embedded server" if provider.is_embedded else "has to be given")
    yield "path", provider.path
    if provider.base_url_variable:
        yield "variable", provider.base_url_variable
    yield "key", " or ".join(provider.key_variables) or "none"
    for setting, fact in {**provider.settings, **provider.query}.items():
        yield "setting", f"{setting}, by {' or '.join(fact.variables) or 'argument'}; {fact.default or 'needed'}"
    yield "options", ", ".join(sorted(provider.options)) or "none"
    words = provider.words.get("input_type", {})
    yield "input types", _words(words) or "no words of its own"


def _words(words: Mapping[object, object]) -> str:
    return ", ".join(f"{ours}: {theirs}" for ours, theirs in words.items() if theirs)


def _texts(limits: Limits) -> str:
    return f"{limits.inputs:,}" if limits.first is None else f"from {limits.first:,}"
