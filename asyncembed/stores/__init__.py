"""Stores for `embed_to_store`, and the protocol for stores of your own.

A store imports the package that it needs when it is first used.
"""

from __future__ import annotations

from asyncembed._models import Metadata, TextId
from asyncembed._public import publish
from asyncembed.stores._address import AnyStore, open_store
from asyncembed.stores._fingerprint import check_fingerprint, fingerprint_from_json, fingerprint_to_json, text_hash
from asyncembed.stores._store import Found, SearchableStore, Store, StoreFingerprint
from asyncembed.stores.lance import LanceTable
from asyncembed.stores.pgvector import PgVector
from asyncembed.stores.sqlite import SqliteVectors

__all__ = [
    "AnyStore",
    "Found",
    "LanceTable",
    "Metadata",
    "PgVector",
    "SearchableStore",
    "SqliteVectors",
    "Store",
    "StoreFingerprint",
    "TextId",
    "check_fingerprint",
    "fingerprint_from_json",
    "fingerprint_to_json",
    "open_store",
    "text_hash",
]

publish(__name__, [globals()[name] for name in __all__])
