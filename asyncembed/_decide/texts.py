"""What one text may be given as, what is said of what is none, and collections of texts of other packages.

Nothing of these packages is imported: their types are known by what they have.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterable, ItemsView, Iterable, KeysView, Mapping, Sequence
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
    from collections.abc import Iterator

    import pyarrow as pa

    from asyncembed._models import Metadata


TextLike: TypeAlias = str | tuple[TextId, str] | EmbedInput
"""What one text may be given as: the text, an (id, text) pair, or an `EmbedInput`."""

Texts: TypeAlias = Iterable[TextLike] | AsyncIterable[TextLike]
"""What the verbs take: a list, generator, open text file or async generator of texts, a series, an Arrow array."""

OWN_COLUMNS: Final = ("index", "id", "text", "embedding")
"""Names that no metadata may have, as files use them."""

UUID_BYTES: Final = 16

_USUAL_IDS: Final = frozenset({str, int, type(None)})

_ROWS: Final = 1_024
"""Rows of an Arrow array that are strings at once."""


@dataclass(slots=True, unsafe_hash=True)
class RefusedInput(EmbedInput):
    """A row that is no text, in its place among the others: it fails alone, and is never sent.

    Attributes:
        reason: What is wrong with it, and what to do.
    """

    reason: str = ""


def as_input(item: object, index: int) -> EmbedInput:
    """Return what the caller gave as an `EmbedInput`.

    Raises:
        ConfigurationError: if it is none of the forms a text may have.
    """
    if isinstance(item, str):
        return EmbedInput(item)
    if type(item) is EmbedInput and type(item.text) is str and type(item.id) in _USUAL_IDS and item.metadata is None:
        return item  # nearly all that are no strings: what follows takes twice as long
    match item:
        case EmbedInput(text=str()):
            given = item
        case tuple((given_id, str() as text)):
            given = EmbedInput(text, given_id)
        case _:
            raise _no_text(item, index)
    if given.id is not None and not is_id(given.id):
        id_ = id_of_bytes(given.id)
        if id_ is None:
            raise _no_text(item, index)
        given = EmbedInput(given.text, id_, given.metadata)
    if given.metadata is not None and (wrong := wrong_metadata(given.metadata)):
        raise _misuse(f"texts[{index}] has metadata {wrong}", index)
    return given


def as_input_or_refused(item: object, index: int) -> EmbedInput:
    """Return the same, and what is no text as a `RefusedInput`."""
    try:
        return as_input(item, index)
    except ConfigurationError as error:
        return RefusedInput("", reason=str(error))


def check_input(given: EmbedInput, index: int) -> int:
    """Return the length of a text in UTF-8 bytes.

    Raises:
        InvalidInputError: if every API would refuse the text, before it takes the texts around it along.
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
        InvalidInputError: if every API would refuse the text, before it takes the texts around it along.
    """
    if not text:
        raise InvalidInputError(f"texts[{index}] is empty; leave it out or replace it", indices=(index,))
    if text.isascii():
        return len(text)
    try:
        return len(text.encode())
    except UnicodeEncodeError as error:
        raise InvalidInputError(
            f"texts[{index}] holds half a surrogate pair at character {error.start} of '{preview(text)}', which is not "
            "valid Unicode; clean it with text.encode('utf-8', 'replace').decode()",
            indices=(index,),
        ) from None


def is_id(value: object) -> TypeGuard[TextId]:
    """Whether a value may be an id as it is; True and False are whole numbers to Python, and no ids."""
    return isinstance(value, str | int | np.integer | UUID) and not isinstance(value, bool)


def id_of_bytes(value: object) -> str | None:
    """Return a UUID that was given as its 16 bytes in the usual spelling; None if it is something else."""
    return str(UUID(bytes=value)) if isinstance(value, bytes) and len(value) == UUID_BYTES else None


def wrong_metadata(metadata: object) -> str:
    """Say what is wrong with metadata; empty if nothing is."""
    if not isinstance(metadata, Mapping) or not all(isinstance(name, str) for name in metadata):
        return f"that is no mapping of names to values but a {type(metadata).__name__}"
    if taken := [name for name in OWN_COLUMNS if name in metadata]:
        return f"with the name {taken[0]!r}, which stands for something else in files; choose another one"
    for name, value in metadata.items():
        try:
            orjson.dumps({name: value}, option=orjson.OPT_SERIALIZE_NUMPY)
        except TypeError as error:
            return f"with a value of {name!r} that JSON does not have: {error}"
    return ""


def metadata_bytes(metadata: Metadata) -> int:
    """Return about how much memory metadata takes."""
    return sys.getsizeof(metadata) + sum(_bytes_of(name) + _bytes_of(value) for name, value in metadata.items())


def _bytes_of(value: object) -> int:
    size = sys.getsizeof(value)
    if isinstance(value, Mapping):
        return size + sum(_bytes_of(key) + _bytes_of(part) for key, part in value.items())
    return size + sum(map(_bytes_of, value)) if isinstance(value, list | tuple) else size


def check_texts(texts: object) -> None:
    """Raise `ConfigurationError` if `texts` cannot be a collection of texts, with the line to write instead."""
    if isinstance(texts, str | bytes | bytearray):
        raise ConfigurationError("texts is a single string; put it into a list: [text]")
    if isinstance(texts, EmbedInput):
        raise ConfigurationError("texts is a single EmbedInput; put it into a list: [text]")
    name = type(texts).__name__
    if hint := _hint(texts):
        raise ConfigurationError(f"texts is a {name}, which is no list of texts; {hint}")
    if not isinstance(texts, Iterable | AsyncIterable) and not _is_arrow(texts):
        raise ConfigurationError(f"texts is a {name}, which cannot be iterated")


def items_of(texts: Iterable[TextLike]) -> Iterator[TextLike]:
    """Return the texts one after the other; those of an Arrow array as strings."""
    return _arrow_items(texts) if _is_arrow(texts) else iter(texts)


def arrow_values(array: pa.Array[Any] | pa.ChunkedArray[Any], *, is_text: bool) -> list[object]:
    """Return the values of a column as Python has them.

    Args:
        array: The column.
        is_text: Whether it is to be text: bytes are decoded then. What is not UTF-8 stays bytes.
    """
    try:
        values = array.to_pylist()
    except UnicodeDecodeError:  # nobody has checked what was marked as UTF-8
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
    for start in range(0, len(array), _ROWS):
        for place, value in enumerate(arrow_values(array[start : start + _ROWS], is_text=True), start):
            if isinstance(value, bytes):
                yield not_utf8(value, f"texts[{place}]")
            else:
                yield value  # type: ignore[misc]  # whatever it is, it is looked at like any other item


def not_utf8(value: bytes, where: str, id_: TextId | None = None) -> RefusedInput:
    """Return what stands for a text that is not UTF-8."""
    try:
        value.decode()
        position = 1
    except UnicodeDecodeError as error:
        position = error.start + 1
    reason = f"{where}: byte {position} of the text is not UTF-8; convert it first, for example with iconv"
    return RefusedInput(value.decode("utf-8", "surrogateescape"), id_, reason=reason)


def _is_arrow(texts: object) -> TypeGuard[Any]:
    """Whether it is an array of Arrow, in one piece or several."""
    return (
        type(texts).__module__.partition(".")[0] == "pyarrow" and hasattr(texts, "to_pylist") and not _is_frame(texts)
    )


def _is_frame(texts: object) -> bool:
    """Whether it has columns, as tables of any package do; the class is asked, as instances may have to work for it."""
    return any(hasattr(type(texts), name) for name in ("columns", "column_names"))


def _hint(texts: object) -> str:  # noqa: PLR0911  # one for each kind
    """Return what to write instead of a collection whose items are not its texts; empty if they may be."""
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
    name = "text" if "text" in names else names[0]
    return f"give one of its columns, such as texts[{name!r}]; they are {', '.join(map(repr, names))}"


def _column_names(texts: object) -> list[object]:
    for attribute in ("column_names", "columns"):
        names = getattr(texts, attribute, None)
        if isinstance(names, Sequence) or hasattr(names, "tolist"):
            found = list(names)  # type: ignore[arg-type]
            if all(isinstance(name, str | int) for name in found):
                return found[:20]
    return []


def _misuse(message: str, index: int) -> ConfigurationError:
    error = ConfigurationError(message)
    error.indices = (index,)
    return error


def _no_text(item: object, index: int) -> ConfigurationError:
    forms = "give a str, an (id, str) pair or an EmbedInput"
    match item:
        case EmbedInput(text=str()) | (_, str()):
            forms += "; an id is a str, an int or a UUID, so convert it in a way that keeps any two apart"
        case Mapping():
            forms = f"give the text in it, such as row[{next(iter(item), 'text')!r}], as a str"
    return _misuse(f"texts[{index}] is {_describe(item)}; {forms}", index)


def _describe(item: object) -> str:
    if isinstance(item, bytes):
        return "bytes (decode them first)"
    if isinstance(item, float) and item != item:  # noqa: PLR0124  # what NaN is known by
        return "NaN, which stands for a missing text"
    if isinstance(item, EmbedInput):
        return f"an EmbedInput of a {type(item.text).__name__} with a {type(item.id).__name__} as its id"
    if isinstance(item, tuple):
        return f"a tuple of {', '.join(type(part).__name__ for part in item)}"
    return f"a {type(item).__name__}"
