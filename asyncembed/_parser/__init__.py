"""Turns the bytes of a response into vectors. No I/O."""

from asyncembed._parser.layout import Layout
from asyncembed._parser.parser import ResponseParser
from asyncembed._parser.splitter import text_of
from asyncembed._parser.vectors import DimensionVote, RawRow, Value, VectorDecoder, doubtful_rows, fault_in, quiet

__all__ = [
    "DimensionVote",
    "Layout",
    "RawRow",
    "ResponseParser",
    "Value",
    "VectorDecoder",
    "doubtful_rows",
    "fault_in",
    "quiet",
    "text_of",
]
