"""Stores that `embed_to_store` puts vectors into, and the protocol for others.

None of the packages that a store needs is imported before the store is used.
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
