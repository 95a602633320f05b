"""Addresses of stores, as the command line takes them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, TypeAlias

from asyncembed._exceptions import ConfigurationError
from asyncembed.stores.lance import LanceTable
from asyncembed.stores.pgvector import PgVector
from asyncembed.stores.sqlite import SqliteVectors

if TYPE_CHECKING:
    from asyncembed._redaction import Secret

AnyStore: TypeAlias = SqliteVectors | LanceTable | PgVector

FORMS: Final = "sqlite:PATH#TABLE, lancedb:PATH#TABLE, postgresql://...#TABLE"
DEFAULT_TABLE: Final = "embeddings"


def is_store(address: str) -> bool:
    """Whether a string is the address of a store rather than the path of a file."""
    return re.match(r"(sqlite|lancedb):.|postgres(ql)?://", address) is not None


def open_store(address: str | Secret) -> AnyStore:
    """Return the store at an address. Nothing is opened yet.

    Args:
        address: `sqlite:PATH#TABLE`, `lancedb:PATH#TABLE` or `postgresql://...#TABLE`, where the table may be
            `SCHEMA.TABLE`. The default table is "embeddings". Put passwords into the environment (PGPASSWORD).

    Raises:
        ConfigurationError: if it is none of these. The message never shows the address, which may hold a password.
    """
    place, _, table = str(address).rpartition("#") if "#" in address else (str(address), "", "")
    kind, _, rest = place.partition(":")
    table = table or DEFAULT_TABLE
    if not re.fullmatch("sqlite|lancedb|postgres(ql)?", kind) or not rest:
        raise ConfigurationError(f"a store is one of {FORMS}")
    if kind == "sqlite":
        return SqliteVectors(rest, table)
    if kind == "lancedb":
        return LanceTable(rest, table)
    if re.search("[@/:]", table):
        raise ConfigurationError(
            "the table after # has a character of an address; if the # belongs to the password, write %23 for it, or "
            "put the password into the environment (PGPASSWORD)"
        )
    schema, _, name = table.rpartition(".")
    return PgVector(place, name, schema=schema or "public")
