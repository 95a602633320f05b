"""Decides what an error means, and what to send, when and how much. Nothing here does I/O or waits."""

from asyncembed._decide.base64_proof import Comparison, Proof, proof_of
from asyncembed._decide.blame import Blame, Case, Step, Verdict, is_refused_likewise
from asyncembed._decide.chunker import BYTES_PER_TOKEN, JSON_OVERHEAD, Batch, Chunker
from asyncembed._decide.controller import FIRST_SIZE, Controller, Flight
from asyncembed._decide.cost import ASSUMED_DIMENSION, MAX_DIMENSIONS, READ_BUFSIZE, CostModel
from asyncembed._decide.delivery import BlockDelivery, ResultDelivery
from asyncembed._decide.duplicates import Duplicates, KnownVectors, Lead
from asyncembed._decide.giving_way import GivingWay
from asyncembed._decide.long_texts import LongTexts, TextLimit
from asyncembed._decide.retry import Backoff, ceiling, is_overload, is_retryable
from asyncembed._decide.signs import Meaning, Sign, meaning_of
from asyncembed._decide.sliding_window import SLACK, Window, WindowEntry
from asyncembed._decide.splitting import LearnedLimits, SubBatch, apart, fits, halves, smaller
from asyncembed._decide.texts import (
    OWN_COLUMNS,
    UUID_BYTES,
    RefusedInput,
    TextLike,
    Texts,
    arrow_values,
    as_input,
    as_input_or_refused,
    check_input,
    check_texts,
    id_of_bytes,
    is_id,
    items_of,
    not_utf8,
    text_key,
)
from asyncembed._decide.token_count import estimate_tokens
from asyncembed._decide.too_large import is_too_large_to_process, read_too_large

__all__ = [
    "ASSUMED_DIMENSION",
    "BYTES_PER_TOKEN",
    "FIRST_SIZE",
    "JSON_OVERHEAD",
    "MAX_DIMENSIONS",
    "OWN_COLUMNS",
    "READ_BUFSIZE",
    "SLACK",
    "UUID_BYTES",
    "Backoff",
    "Batch",
    "Blame",
    "BlockDelivery",
    "Case",
    "Chunker",
    "Comparison",
    "Controller",
    "CostModel",
    "Duplicates",
    "Flight",
    "GivingWay",
    "KnownVectors",
    "Lead",
    "LearnedLimits",
    "LongTexts",
    "Meaning",
    "Proof",
    "RefusedInput",
    "ResultDelivery",
    "Sign",
    "Step",
    "SubBatch",
    "TextLike",
    "TextLimit",
    "Texts",
    "Verdict",
    "Window",
    "WindowEntry",
    "apart",
    "arrow_values",
    "as_input",
    "as_input_or_refused",
    "ceiling",
    "check_input",
    "check_texts",
    "estimate_tokens",
    "fits",
    "halves",
    "id_of_bytes",
    "is_id",
    "is_overload",
    "is_refused_likewise",
    "is_retryable",
    "is_too_large_to_process",
    "items_of",
    "meaning_of",
    "not_utf8",
    "proof_of",
    "read_too_large",
    "smaller",
    "text_key",
]
