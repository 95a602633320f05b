"""The fingerprint of a store: its contents, its JSON form and its comparison."""

from __future__ import annotations

from hashlib import blake2s
from typing import TYPE_CHECKING, Final

import orjson

from asyncembed._exceptions import ResumeError
from asyncembed.sinks._provenance import differences

if TYPE_CHECKING:
    from collections.abc import Mapping

    from asyncembed.sinks import Provenance
    from asyncembed.stores._store import StoreFingerprint

HASH_BYTES: Final = 16
"""Length of the hash of a text, in bytes."""


def fingerprint_of(provenance: Provenance) -> StoreFingerprint:
    """Return the properties that all vectors of one store share."""
    return {name: value for name, value in provenance.identity.items() if name != "keep_text"}


def text_hash(text: str) -> bytes:
    """Return the hash that shows whether the text of an id has changed."""
    return blake2s(text.encode("utf-8", "surrogatepass"), digest_size=HASH_BYTES).digest()


def fingerprint_to_json(fingerprint: StoreFingerprint) -> str:
    """Return a fingerprint as JSON, for a store to keep."""
    return orjson.dumps(dict(fingerprint), option=orjson.OPT_SORT_KEYS).decode()


def fingerprint_from_json(text: str | bytes, store: str) -> StoreFingerprint:
    """Read the output of `fingerprint_to_json`.

    Args:
        text: The JSON.
        store: The name of the store, for the error.

    Raises:
        ResumeError: if the text is anything else.
    """
    try:
        found = orjson.loads(text)
    except orjson.JSONDecodeError:
        found = None
    if not isinstance(found, dict):
        raise ResumeError(f"the fingerprint in {store} cannot be read, so the origin of its vectors is not known")
    return found


def check_fingerprint(
    store: str, found: Mapping[str, object], given: StoreFingerprint, found_dimension: int | None, dimension: int | None
) -> None:
    """Raise `ResumeError` unless new vectors belong with those that a store has.

    Args:
        store: The name of the store, for the error.
        found: The fingerprint in the store.
        given: The fingerprint of the new vectors.
        found_dimension: The dimension of the vectors in the store, None if it is not known.
        dimension: The dimension of the new vectors, None if it is not known.
    """
    differing = differences(found, given)
    if found_dimension and dimension and found_dimension != dimension:
        differing.append(f"the dimension was {found_dimension} and is {dimension} now")
    if differing:
        raise ResumeError(f"{store} holds vectors of another kind: {'; '.join(differing)}; choose another table")


def check_unmarked(store: str, *, is_empty: bool) -> None:
    """Raise `ResumeError` if a table without a fingerprint holds rows, because the origin of these is not known."""
    if not is_empty:
        raise ResumeError(
            f"{store} has rows but no fingerprint that says what made their vectors; choose another table"
        )
