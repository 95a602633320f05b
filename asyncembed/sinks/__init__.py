"""Files of vectors: the `Journal` that keeps results while they arrive, and one module per file format."""

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
from asyncembed.sinks._journal import Journal, KnownTexts
from asyncembed.sinks._output import Output, check_new, check_same_settings, open_output
from asyncembed.sinks._partial import Partial, read_partial
from asyncembed.sinks._partial_dir import PartialFolder, folder_of
from asyncembed.sinks._provenance import NUMPY_TYPES, PACKED, Fingerprint, OldFingerprint, Provenance
from asyncembed.sinks._totals import TOTALS_SUFFIX, read_totals

__all__ = [
    "ARROW_MISSING",
    "FORMATS",
    "NUMPY_TYPES",
    "PACKED",
    "TOTALS_SUFFIX",
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
    "check_new",
    "check_same_settings",
    "find_format",
    "folder_of",
    "open_output",
    "open_vectors",
    "read_partial",
    "read_totals",
]

publish(__name__, [globals()[name] for name in __all__])
