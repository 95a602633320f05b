"""Where vectors go: a `Journal` while they arrive, and one module for each file format that is made of it."""

from asyncembed._public import publish
from asyncembed.sinks._base import (
    ARROW_MISSING,
    FORMATS,
    Block,
    Format,
    FormatName,
    Label,
    VectorFile,
    find_format,
    open_vectors,
)
from asyncembed.sinks._books import BOOKS, read_books
from asyncembed.sinks._journal import Journal, KnownTexts
from asyncembed.sinks._output import Output, open_output
from asyncembed.sinks._partial import Partial, read_partial
from asyncembed.sinks._partial_dir import PartialFolder, folder_of
from asyncembed.sinks._provenance import NUMPY_TYPES, PACKED, Fingerprint, OldFingerprint, Provenance

__all__ = [
    "ARROW_MISSING",
    "BOOKS",
    "FORMATS",
    "NUMPY_TYPES",
    "PACKED",
    "Block",
    "Fingerprint",
    "Format",
    "FormatName",
    "Journal",
    "KnownTexts",
    "Label",
    "OldFingerprint",
    "Output",
    "Partial",
    "PartialFolder",
    "Provenance",
    "VectorFile",
    "find_format",
    "folder_of",
    "open_output",
    "open_vectors",
    "read_books",
    "read_partial",
]

publish(__name__, [globals()[name] for name in __all__])
