"""Texts that are made of several fields of a row, such as `{title}: {body}`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

import orjson

from asyncembed import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_TOKEN: Final = re.compile(r"(\{\{|\}\}|\{[^{}]*\}|[{}]|\\[nrt\\])")
_WRITTEN: Final = {"{{": "{", "}}": "}", r"\n": "\n", r"\r": "\r", r"\t": "\t", r"\\": "\\"}
_MORE_THAN_A_NAME: Final = re.compile(r"[.\[\]!:]")


@dataclass(frozen=True, slots=True)
class RowTemplate:
    """What is put around the fields of a row.

    Attributes:
        names: Names of the fields, in their order.
        between: What stands before, between and after them: one more than there are names.
    """

    names: Sequence[str]
    between: Sequence[str]

    @classmethod
    def parse(cls, given: str) -> Self:
        """Return what was given on the command line.

        Raises:
            ConfigurationError: if it names no field, or asks for more of one than its value.
        """
        names: list[str] = []
        between = [""]
        for token in _TOKEN.split(given):
            if token in _WRITTEN:
                between[-1] += _WRITTEN[token]
            elif token.startswith("{") and token.endswith("}") and len(token) > 1:
                name = token[1:-1]
                if not name or name != name.strip() or _MORE_THAN_A_NAME.search(name):
                    raise ConfigurationError(
                        f"--template {given!r}: {token} is no plain name of a field; write {{name}}, without "
                        "attribute, index or format"
                    )
                names.append(name)
                between.append("")
            elif token in {"{", "}"}:
                raise ConfigurationError(f"--template {given!r}: a brace stands alone; write it twice to have one")
            else:
                between[-1] += token
        if not names:
            raise ConfigurationError(
                f"--template {given!r} names no field, so all texts would be the same; write {{name}}"
            )
        return cls(tuple(names), tuple(between))

    def fill(self, row: Mapping[str, object]) -> str:
        """Return the text of a row, which has all the names; empty if all values are."""
        values = [_text_of(row[name]) for name in self.names]
        if not any(values):
            return ""
        return self.between[0] + "".join(value + behind for value, behind in zip(values, self.between[1:], strict=True))


def _text_of(value: object) -> str:
    if isinstance(value, str):
        return value
    is_missing = value is None or value != value  # noqa: PLR0124  # NaN
    if is_missing:
        return ""
    if isinstance(value, dict | list | bool):
        return orjson.dumps(value, default=str).decode()
    return str(value)
