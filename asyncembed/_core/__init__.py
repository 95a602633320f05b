"""One stream, from texts to results."""

from asyncembed._core.call import Call, DeadLetters
from asyncembed._core.circuit_breaker import CircuitBreaker
from asyncembed._core.endpoint import Endpoint, EndpointState
from asyncembed._core.exchange import HARMLESS
from asyncembed._core.memory import SMALLEST_BATCH, MemoryBudget
from asyncembed._core.memory_monitor import MemoryMonitor, bytes_of
from asyncembed._core.observer import Hook
from asyncembed._core.query_lane import QueryLane, QueryRun
from asyncembed._core.run import Run
from asyncembed._core.scheduler import current_run
from asyncembed._core.slots import SlotsByModel
from asyncembed._core.source import aclose_texts, async_lines, close_texts, length, lines
from asyncembed._core.stream import EmbedStream

__all__ = [
    "HARMLESS",
    "SMALLEST_BATCH",
    "Call",
    "CircuitBreaker",
    "DeadLetters",
    "EmbedStream",
    "Endpoint",
    "EndpointState",
    "Hook",
    "MemoryBudget",
    "MemoryMonitor",
    "QueryLane",
    "QueryRun",
    "Run",
    "SlotsByModel",
    "aclose_texts",
    "async_lines",
    "bytes_of",
    "close_texts",
    "current_run",
    "length",
    "lines",
]
