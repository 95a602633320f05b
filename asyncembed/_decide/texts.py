"""Checks and converts the texts that the caller gives, and explains what is wrong with other values.

Collections of other packages (NumPy, pandas, Polars, Arrow) are recognised by their attributes, without importing them.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterable, AsyncIterator, ItemsView, Iterable, Iterator, KeysView, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeGuard
from uuid import UUID

import numpy as np
import orjson

from asyncembed._exceptions import ConfigurationError, InvalidInputError
from asyncembed._models import EmbedInput, TextId
from asyncembed._preview import preview

if TYPE_CHECKING:
    import pyarrow as pa

    from asyncembed._models import Metadata


TextLike: TypeAlias = str | tuple[TextId, str] | EmbedInput
"""One text: a string, an (id, text) pair or an `EmbedInput`."""

Texts: TypeAlias = Iterable[TextLike] | AsyncIterable[TextLike]
"""Texts: a list, generator, open text file, async generator, series or Arrow array."""

OWN_COLUMNS: Final = ("index", "id", "text", "embedding")
"""Names that metadata may not have, as output files use them."""

UUID_BYTES: Final = 16

_USUAL_IDS: Final = frozenset({int, type(None)})

_ARROW_ROWS: Final = 1_024
"""Rows of an Arrow array that are converted to strings at a time."""


@dataclass(slots=True, unsafe_hash=True)
class RefusedInput(EmbedInput):
    """An invalid text. It keeps its position, is never sent, and fails without the others.

    Attributes:
        reason: What is wrong with it, and how to fix it.
    """

    reason: str = ""


def as_input(item: object, index: int) -> EmbedInput:
    """Return an item of the caller as an `EmbedInput`.

    Raises:
        ConfigurationError: if the item is not a text.
    """
    if isinstance(item, str):
        return EmbedInput(item)
    if type(item) is EmbedInput and type(item.text) is str and item.metadata is None:
        id_ = item.id
        if type(id_) in _USUAL_IDS or (type(id_) is str and id_.isascii()):
            return item  # the common case; the rest takes twice as long
    match item:
        case EmbedInput(text=str()):
            given = item
        case tuple((given_id, str() as text)):
            given = EmbedInput(text, given_id)
        case _:
            raise _no_text(item, index)
    if given.id is not None and not is_id(given.id):
        uuid = id_of_bytes(given.id)
        if uuid is None:
            raise _no_text(item, index)
        given = EmbedInput(given.text, uuid, given.metadata)
    if isinstance(given.id, str) and (place := lone_surrogate(given.id)) is not None:  # no file can keep it
        raise misuse(
            f"texts[{index}] has the id '{preview(given.id)}' with a lone surrogate at character {place}, which is not "
            "valid Unicode; clean it, and keep it unique",
            index,
        )
    if given.metadata is not None and (wrong := wrong_metadata(given.metadata)):
        raise misuse(f"texts[{index}] has metadata {wrong}", index)
    return given


def as_input_or_refused(item: object, index: int) -> EmbedInput:
    """Return an item as an `EmbedInput`; a `RefusedInput` if it is not a text."""
    try:
        return as_input(item, index)
    except ConfigurationError as error:
        return RefusedInput("", reason=str(error))


def check_input(given: EmbedInput, index: int) -> int:
    """Return the length of a text in UTF-8 bytes.

    Raises:
        InvalidInputError: if every API would refuse the text, and with it the whole request.
    """
    if isinstance(given, RefusedInput):
        raise InvalidInputError(given.reason, indices=(index,))
    return check_text(given.text, index)


def text_key(text: str, identity: bytes) -> bytes:
    """Return a digest of a text and of what else shapes its vector; two different texts never share one in practice."""
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16, key=identity).digest()


def check_text(text: str, index: int) -> int:
    """Return the length of a text in UTF-8 bytes.

    Raises:
        InvalidInputError: if every API would refuse the text, and with it the whole request.
    """
    if not text:
        raise InvalidInputError(f"texts[{index}] is empty; leave it out or replace it", indices=(index,))
    if text.isascii():
        return len(text)
    try:
        return len(text.encode())
    except UnicodeEncodeError as error:
        raise InvalidInputError(
            f"texts[{index}] contains a lone surrogate at character {error.start} of '{preview(text)}', which is not "
            "valid Unicode; clean it with text.encode('utf-8', 'replace').decode()",
            indices=(index,),
        ) from None


def lone_surrogate(text: str) -> int | None:
    """Return the position of the first lone surrogate in a text; None if it is valid Unicode."""
    if text.isascii():
        return None
    try:
        text.encode()
    except UnicodeEncodeError as error:
        return error.start
    return None


def is_id(value: object) -> TypeGuard[TextId]:
    """Whether a value is a valid id. True and False are not, though Python counts them as integers."""
    return isinstance(value, str | int | np.integer | UUID) and not isinstance(value, bool)


def id_of_bytes(value: object) -> str | None:
    """Return the string form of a UUID given as 16 bytes; None for any other value."""
    return str(UUID(bytes=value)) if isinstance(value, bytes) and len(value) == UUID_BYTES else None


def wrong_metadata(metadata: object) -> str:
    """Describe what is wrong with metadata; empty if it is valid."""
    if not isinstance(metadata, Mapping):
        return f"that is a {type(metadata).__name__}; give a mapping of names to values"
    if wrong := [name for name in metadata if not isinstance(name, str)]:
        return f"with a {type(wrong[0]).__name__} as a name; names must be strings"
    if taken := [name for name in OWN_COLUMNS if name in metadata]:
        return f"with the name {taken[0]!r}, which output files use for their own column; choose another name"
    for name, value in metadata.items():
        try:
            orjson.dumps({name: value}, option=orjson.OPT_SERIALIZE_NUMPY)
        except TypeError as error:
            return f"with a value of {name!r} that JSON cannot hold: {error}"
    return ""


def metadata_bytes(metadata: Metadata) -> int:
    """Return the estimated memory of metadata in bytes."""
    return sys.getsizeof(metadata) + sum(_bytes_of(name) + _bytes_of(value) for name, value in metadata.items())


def _bytes_of(value: object) -> int:
    size = sys.getsizeof(value)
    if isinstance(value, Mapping):
        return size + sum(_bytes_of(key) + _bytes_of(part) for key, part in value.items())
    return size + sum(map(_bytes_of, value)) if isinstance(value, list | tuple) else size


def check_texts(texts: object) -> None:
    """Check that `texts` can be a collection of texts.

    Raises:
        ConfigurationError: if it cannot; the message shows what to write instead.
    """
    if isinstance(texts, str | bytes | bytearray):
        raise ConfigurationError("texts is a single string; put it into a list: [text]")
    if isinstance(texts, EmbedInput):
        raise ConfigurationError("texts is a single EmbedInput; put it into a list: [text]")
    name = type(texts).__name__
    if hint := _hint(texts):
        raise ConfigurationError(f"texts is a {name}, not a list of texts; {hint}")
    if not isinstance(texts, Iterable | AsyncIterable) and not _is_arrow(texts):
        raise ConfigurationError(f"texts is a {name}, which cannot be iterated")


def is_repeatable(texts: Texts) -> bool:
    """Return whether the texts can be read more than once. Iterators and open files cannot."""
    return not isinstance(texts, Iterator | AsyncIterator)


def check_repeatable(texts: Texts) -> None:
    """Check that the texts can be read more than once.

    Raises:
        ConfigurationError: if they cannot; the message shows what to write instead.
    """
    check_texts(texts)
    if not is_repeatable(texts):
        name = type(texts).__name__
        raise ConfigurationError(
            f"texts is a {name}, which can be read only once, so nothing would be left to embed; give texts that can "
            "be read again: list(texts), or an object whose __iter__ starts from the beginning"
        )


def items_of(texts: Iterable[TextLike]) -> Iterator[TextLike]:
    """Return an iterator over the texts; it converts the items of an Arrow array to strings."""
    return _arrow_items(texts) if _is_arrow(texts) else iter(texts)


def arrow_values(array: pa.Array[Any] | pa.ChunkedArray[Any], *, is_text: bool) -> list[object]:
    """Return the values of a column as Python objects.

    Args:
        array: The column.
        is_text: Whether to decode bytes as UTF-8. Invalid UTF-8 stays bytes.
    """
    try:
        values = array.to_pylist()
    except UnicodeDecodeError:  # Arrow does not validate its string columns
        values = [_arrow_value(value) for value in array]
    return [_decoded(value) if isinstance(value, bytes) else value for value in values] if is_text else values


def _arrow_value(value: Any) -> object:
    try:
        return value.as_py()
    except UnicodeDecodeError:
        return bytes(value.as_buffer())


def _decoded(value: bytes) -> str | bytes:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value


def _arrow_items(array: Any) -> Iterator[TextLike]:
    for start in range(0, len(array), _ARROW_ROWS):
        for place, value in enumerate(arrow_values(array[start : start + _ARROW_ROWS], is_text=True), start):
            if isinstance(value, bytes):
                yield not_utf8(value, f"texts[{place}]")
            else:
                yield value  # type: ignore[misc]  # `as_input` checks it like any other item


def not_utf8(value: bytes, where: str, id_: TextId | None = None) -> RefusedInput:
    """Return a `RefusedInput` for a text that is not UTF-8."""
    try:
        value.decode()
        position = 1
    except UnicodeDecodeError as error:
        position = error.start + 1
    reason = f"{where}: byte {position} of the text is not UTF-8; convert it first, for example with iconv"
    return RefusedInput(value.decode("utf-8", "surrogateescape"), id_, reason=reason)


def _is_arrow(texts: object) -> TypeGuard[Any]:
    """Whether `texts` is an Arrow array, chunked or not."""
    return _is_of_arrow(texts) and hasattr(texts, "to_pylist") and not _is_frame(texts)


def _is_of_arrow(value: object) -> bool:
    return type(value).__module__.partition(".")[0] == "pyarrow"


def _is_frame(texts: object) -> bool:
    """Whether `texts` is a table of any package. Checks the class, as a lazy instance may compute its columns."""
    return any(hasattr(type(texts), name) for name in ("columns", "column_names"))


def _hint(texts: object) -> str:  # noqa: PLR0911  # one for each kind
    """Return what to write instead of a collection whose items are not its texts; empty if the items may be texts."""
    if isinstance(texts, Mapping):
        if any(_is_frame(value) for value in texts.values()):
            part = next(key for key, value in texts.items() if _is_frame(value))
            return f"give a column of one of its parts, such as texts[{part!r}]['text']"
        return "give texts.values(), or texts.items() if its keys are the ids"
    if isinstance(texts, AbstractSet) and not isinstance(texts, KeysView | ItemsView):
        return "it has no order, so give sorted(texts)"
    if isinstance(texts, np.ndarray) and texts.ndim != 1:
        return f"it has {texts.ndim} dimensions, so give one column of it, such as texts[:, 0], or texts.ravel()"
    if not _is_frame(texts):
        return ""
    if not hasattr(texts, "__getitem__") or not hasattr(texts, "__len__"):
        if isinstance(texts, Iterable):
            return "give one field of its rows, such as (row['text'] for row in texts)"
        return "give one column of what it collects, such as texts.collect()['text']"
    names = _column_names(texts)
    if not names:
        return "give one of its columns, such as texts['text']"
    likely = _likely_text(names)
    return f"give one of its columns, such as texts[{likely!r}]; they are {', '.join(map(repr, names))}"


def _column_names(texts: object) -> list[object]:
    for attribute in ("column_names", "columns"):
        names = getattr(texts, attribute, None)
        if isinstance(names, Sequence) or hasattr(names, "tolist"):
            found = list(names)  # type: ignore[arg-type]
            if all(isinstance(name, str | int) for name in found):
                return found[:20]
    return []


def misuse(message: str, index: int) -> ConfigurationError:
    """Return the error for an item that is no text, or whose id or metadata cannot be kept."""
    error = ConfigurationError(message)
    error.indices = (index,)
    return error


def _no_text(item: object, index: int) -> ConfigurationError:
    forms = "give a str, an (id, str) pair or an EmbedInput"
    parts = item if isinstance(item, tuple) else (item,)
    match item:
        case _ if any(_is_of_arrow(part) and hasattr(part, "as_py") for part in parts):
            forms += "; convert Arrow's values with as_py(), or a whole column with to_pylist()"
        case EmbedInput(text=str()) | tuple((_, str())):
            forms += "; an id is a str, an int or a UUID, so convert yours to one of these, and keep it unique"
        case Mapping():
            forms = f"give its text, such as row[{_likely_text(list(item))!r}], as a str"
        case _ if _is_frame(item):
            column = f"part[{_likely_text(_column_names(item))!r}]{'.to_pylist()' if _is_of_arrow(item) else ''}"
            forms = f"give the texts of all parts, such as (text for part in texts for text in {column})"
    return misuse(f"texts[{index}] is {_describe(item)}; {forms}", index)


def _likely_text(names: Sequence[object]) -> object:
    """Return the name of the column that most likely holds the texts."""
    return "text" if "text" in names else next(iter(names), "text")


def _describe(item: object) -> str:
    if isinstance(item, bytes):
        return "bytes (decode them first)"
    if isinstance(item, float) and item != item:  # noqa: PLR0124  # NaN
        return "NaN, which stands for a missing text"
    if isinstance(item, EmbedInput):
        return f"an EmbedInput of a {type(item.text).__name__} with a {type(item.id).__name__} as its id"
    if isinstance(item, tuple):
        return f"a tuple of {', '.join(type(part).__name__ for part in item)}"
    return f"a {type(item).__name__}"
