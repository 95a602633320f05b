"""Where vectors go: one module for each file format, and `Output`, which gives a file its name when it is whole."""

from asyncembed.sinks._base import Block, Format, Label, Matrix, Sink, VectorFile
from asyncembed.sinks._formats import ARROW_MISSING, FORMATS, find_format, open_vectors
from asyncembed.sinks._output import Output, save
from asyncembed.sinks._provenance import NUMPY_TYPES, PACKED, Provenance, without_secrets

__all__ = [
    "ARROW_MISSING",
    "FORMATS",
    "NUMPY_TYPES",
    "PACKED",
    "Block",
    "Format",
    "Label",
    "Matrix",
    "Output",
    "Provenance",
    "Sink",
    "VectorFile",
    "find_format",
    "open_vectors",
    "save",
    "without_secrets",
]
