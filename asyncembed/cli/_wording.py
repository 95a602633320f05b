"""Messages of the library in the words of the command line, and hints where a message does not say what may be wrong.

The library names its arguments as Python writes them: "pass model=". Where the command has the option, the message
names that instead: "pass --model". A few sentences ask for what only a program can do; they are replaced.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Self

from asyncembed import AsyncEmbedError, TransportError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import typer

_ALIASES: Final = {
    "max_memory_mb": "max_memory",
    "first_byte": "timeout",
    "read": "timeout",
    "connect": "timeout",
    "retry": "max_attempts",
    "timeouts": "timeout",
}
"""Arguments of the library whose option has another name."""

_NO_KEY: Final = r"(?:, or|;) pass api_key="

_SENTENCES: Final = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (_NO_KEY, ""),
        (r" \((?:resume|overwrite)=True\)", ""),
        (r"^resume and overwrite contradict", "--resume and --overwrite contradict"),
        (r"on_error='skip' \(--on-error skip\), or 'yield' if the verb has it", "--on-error skip"),
        (r"extra=\{'([^']*)': ([^}]*)\}", r"--extra \1=\2"),
        (r"extra=\{\.\.\.\}", "--extra NAME=VALUE"),
        (r"pass an \(id, text\) pair or an EmbedInput", "name the field or column with --id-field"),
        (r"pass it as a str", "write it as text"),
        (r"^\w+ has no setting (.*); it has: ", r"--setting \1 is unknown to this provider; it has: "),
        (r"\bthe setting (\w+)", r"--setting \1=..."),
        (r", exempt the host with NO_PROXY, or pass your own session=", ", or exempt the host with NO_PROXY"),
        (r"^api_key is empty: .*", "the variable of --api-key-env holds no key"),
        (r"set an api_key", "add --api-key-env"),
        (r"is not a table of embed_to_store", "is not a table that `asyncembed embed --to` wrote"),
        (r"metadata has the name", "--keep-column: a column has the name"),
        (r"has metadata with the name", "has a column from --keep-column with the name"),
        (r"\b(table|schema)='", r"\1 '"),
        (r"text\.encode\('utf-8', 'replace'\)\.decode\(\)", "iconv -c"),
    )
)
"""Sentences that must differ, and what the command line says."""

_ARGUMENT: Final = re.compile(r"(?<![\w.?&/'\"{<-])([a-z]+(?:_[a-z]+)*)=(?!=)(?=(\S?))")
_ENDS: Final = frozenset(",;.:)")

_NO_LISTENER: Final = re.compile(r"Connect call failed|[Cc]onnection refused|Cannot connect to unix socket")
_OWN_MACHINE: Final = re.compile(r"host (?:localhost|127\.|\[?::1)|unix socket")


@dataclass(frozen=True, slots=True)
class Wording:
    """The words of one command.

    Attributes:
        options: The option for each name that the command's own code gives it, such as "--base-url" for `base_url`.
    """

    options: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def for_command(cls, context: typer.Context) -> Self:
        """Return the words of the command that is running."""
        found = {param.name: max(param.opts, key=len) for param in context.command.params if param.name}
        return cls({name: option for name, option in found.items() if option.startswith("--")})

    def of(self, error: BaseException) -> str:
        """Return the message of an error. What a server or another package has said stays as it is."""
        message = str(error) or type(error).__name__
        if not isinstance(error, AsyncEmbedError):
            return message
        return re.sub(_NO_KEY, "", message) if error.provider_message else self.of_message(message)

    def of_message(self, message: str) -> str:
        """Return a message of the library."""
        for pattern, replacement in _SENTENCES:
            message = pattern.sub(replacement, message)
        return _ARGUMENT.sub(self._option, message)

    def _option(self, found: re.Match[str]) -> str:
        name, after = found.groups()
        option = self.options.get(_ALIASES.get(name, name))
        if option is None:
            return f"{name} " if name == "provider" else found[0]
        return f"{option} " if after and after not in _ENDS else option


def hints(error: BaseException, base_url: object) -> Iterator[str]:
    """Yield hints about an error.

    Args:
        error: The error.
        base_url: The value of `--base-url`, if it is given.
    """
    message = str(error)
    is_own = base_url or _OWN_MACHINE.search(message)  # a provider's own server does run
    if isinstance(error, TransportError) and is_own and _NO_LISTENER.search(message):
        yield "Nothing listens at this address: is the server running?"
    if "no key was sent; pass api_key=" in message:
        yield "This provider reads no key. For a server with OpenAI's API, use --provider custom and set EMBED_API_KEY."
