"""The `repr` of this package's values: one line of bounded length, without secrets.

Notebooks, debuggers, test runners and logs show values by their `repr`. It shows only the shape of a matrix of 10,000
vectors, and only the beginning of a text of a million characters.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import MISSING, Field, fields
from itertools import islice
from typing import TYPE_CHECKING, Any, ClassVar, Final

from asyncembed._redaction import names_secret

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_TEXT: Final = 60
"""Maximum length of a text that is shown whole; a longer one is shown by its beginning and its length."""
MAX_BEGINNING: Final = 40
MAX_MESSAGE: Final = 300
"""Like `MAX_TEXT`, for the message of an error."""
MAX_ITEMS: Final = 4
"""Maximum number of items shown of a collection."""
MAX_OTHER: Final = 400
"""Maximum number of characters shown of any other value."""
MAX_BITS: Final = 128
"""Maximum number of bits of an int that is written out: huge ones are slow, and Python may refuse them."""
MAX_DEPTH: Final = 3

_BRACKETS: Final[Mapping[type, tuple[str, str]]] = {
    list: ("[", "]"),
    tuple: ("(", ")"),
    set: ("{", "}"),
    frozenset: ("{", "}"),
}


def shown(value: object, depth: int = MAX_DEPTH, *, max_text: int = MAX_TEXT) -> str:
    """Return the `repr` of a value, cut to a few hundred characters."""
    text = _shown(value, depth, max_text)
    return text if len(text) <= MAX_OTHER else f"{text[: MAX_OTHER - 3]}..."


def _shown(value: object, depth: int, max_text: int) -> str:
    if isinstance(value, str | bytes | bytearray):
        return _text(value, max_text)
    if isinstance(value, int) and value.bit_length() > MAX_BITS:
        return f"<{type(value).__name__} of {value.bit_length():,} bits>"
    if hasattr(value, "dtype") and isinstance(shape := getattr(value, "shape", None), tuple) and shape:
        return f"<{value.dtype} array of shape {shape}>"
    if type(value) in _BRACKETS:
        return _items(value, depth)  # type: ignore[arg-type]
    if isinstance(value, Mapping):
        return _pairs(value, depth)
    return _other(value)


def _text(text: str | bytes | bytearray, max_text: int) -> str:
    if len(text) <= max_text or (isinstance(text, str) and type(text).__repr__ is not str.__repr__):
        return _other(text)
    unit = "characters" if isinstance(text, str) else "bytes"
    return f"<{text[: max_text - MAX_TEXT + MAX_BEGINNING]!r}... of {len(text):,} {unit}>"


def _items(items: Sequence[object], depth: int) -> str:
    left, right = _BRACKETS[type(items)]
    if depth <= 0:
        return f"{left}{len(items):,} items{right}"
    parts = [shown(item, depth - 1) for item in islice(items, MAX_ITEMS)]
    if len(items) > MAX_ITEMS:
        parts.append(f"... {len(items):,} in all")
    comma = "," if left == "(" and len(items) == 1 else ""
    return f"{left}{', '.join(parts)}{comma}{right}"


def _pairs(mapping: Mapping[Any, object], depth: int) -> str:
    if depth <= 0:
        return f"{{{len(mapping):,} items}}"
    parts = []
    for name, value in islice(mapping.items(), MAX_ITEMS):
        what = "'***'" if names_secret(str(name)) else shown(value, depth - 1)
        parts.append(f"{shown(name, depth - 1)}: {what}")
    if len(mapping) > MAX_ITEMS:
        parts.append(f"... {len(mapping):,} in all")
    return f"{{{', '.join(parts)}}}"


def _other(value: object) -> str:
    try:
        return repr(value)
    except Exception:  # noqa: BLE001  # a value of the caller may raise anything
        return f"<{type(value).__name__}>"


class ShortRepr:
    """Mixin that gives a `@dataclass(repr=False)` a `repr` of bounded length.

    It omits fields with `repr=False`, and with `hides_defaults` also fields that have their default value.
    """

    __slots__ = ()
    hides_defaults: ClassVar[bool] = False

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(self._parts())})"

    def _parts(self) -> Iterator[str]:
        instance: Any = self  # of the dataclass that uses this mixin
        for field in fields(instance):
            value = getattr(self, field.name)
            if field.repr and not (self.hides_defaults and _is_default(field, value)):
                yield f"{field.name}={shown(value)}"


def _is_default(field: Field[object], value: object) -> bool:
    default = field.default if field.default_factory is MISSING else field.default_factory()
    return type(value) is type(default) and bool(value == default)
