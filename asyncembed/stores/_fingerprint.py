"""The fingerprint of a store: what it is made of, how a store keeps it, and what is said where two differ."""

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
"""Length of the hash of a text."""


def fingerprint_of(provenance: Provenance) -> StoreFingerprint:
    """Return what vectors must share to belong into one store."""
    return {name: value for name, value in provenance.identity.items() if name != "keep_text"}


def text_hash(text: str) -> bytes:
    """Return the hash that tells whether the text of an id has changed."""
    return blake2s(text.encode("utf-8", "surrogatepass"), digest_size=HASH_BYTES).digest()


def fingerprint_to_json(fingerprint: StoreFingerprint) -> str:
    """Return a fingerprint as text, for a store to keep."""
    return orjson.dumps(dict(fingerprint), option=orjson.OPT_SORT_KEYS).decode()


def fingerprint_from_json(text: str | bytes, store: str) -> StoreFingerprint:
    """Read what `fingerprint_to_json` wrote.

    Args:
        text: The JSON.
        store: The store it was found in, for the error.

    Raises:
        ResumeError: if it is something else.
    """
    try:
        found = orjson.loads(text)
    except orjson.JSONDecodeError:
        found = None
    if not isinstance(found, dict):
        raise ResumeError(f"{store} does not say in a readable way what its vectors are from")
    return found


def check_fingerprint(
    store: str, found: Mapping[str, object], given: StoreFingerprint, found_dimension: int | None, dimension: int | None
) -> None:
    """Raise `ResumeError` unless vectors may be put beside those that a store has.

    Args:
        store: The store, for the error.
        found: The fingerprint that it keeps.
        given: That of the vectors.
        found_dimension: The length of the vectors in the store, None if it is not known.
        dimension: The length of those that are to come, None if it is not known.
    """
    differing = differences(found, given)
    if found_dimension and dimension and found_dimension != dimension:
        differing.append(f"the dimension was {found_dimension} and is {dimension} now")
    if differing:
        raise ResumeError(f"{store} has vectors of another kind: {'; '.join(differing)}; choose another table")


def check_unmarked(store: str, *, is_empty: bool) -> None:
    """Raise `ResumeError` if a table without a fingerprint holds rows: what its vectors are from is not known."""
    if not is_empty:
        raise ResumeError(f"{store} has rows, and does not say what their vectors are from; choose another table")
