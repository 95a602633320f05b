"""Estimates the memory of a request before it starts."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

READ_BUFSIZE: Final = 131_072
"""High-water mark of a socket in bytes. aiohttp buffers up to twice as much, and the client holds one read more.

asyncio reads 256 KiB at once. If this were less than half of that, each full read would pause and resume the socket.
"""

FIXED_COST: Final = 65_536
"""Fixed bytes of every request: task, headers, parser."""

RESULT_COST: Final = 800
"""Bytes of the Python objects of one result: result, array, its buffer, index, text (about 750 by tracemalloc)."""

ASSUMED_DIMENSION: Final = 3_072
"""Dimension assumed until the first vector arrives: the largest among the common models."""

TEXT_BYTES_PER_NUMBER: Final = 26
"""Bytes of the longest common JSON form of one number, with its comma and white space."""

LARGEST_DIMENSION: Final = 16_384
"""Dimension that is always accepted while the dimension is unknown, so that large models work."""

MAX_DIMENSIONS: Final = 65_536
"""Highest accepted dimension, unless the caller asks for more: no server may fill the memory."""

ROW_TEXT_BYTES: Final = 48
"""Maximum bytes of one number in a response: 17 digits, sign, exponent, comma, and the white space of pretty JSON."""

ECHO_BYTES: Final = 6
r"""Maximum bytes of one byte of a text that the response echoes: as \u0041."""


@dataclass(slots=True)
class CostModel:
    """Estimates the memory of one request, in bytes.

    `texts + request + 3 * read buffer + one row as text + n * (row + objects) + fixed`. The texts exist twice: as
    strings, which take up to four bytes per character, and in the request body. aiohttp buffers twice the read buffer,
    and the client holds one read. One array may be open, and n results may wait for the consumer.

    Attributes:
        dimension: Dimension of a vector, known or assumed.
        itemsize: Bytes of one number in memory.
        packing: Dimensions per number: 8 for packed bits, otherwise 1.
        is_settled: Whether the dimension is known for certain.
    """

    dimension: int = ASSUMED_DIMENSION
    itemsize: int = 4
    packing: int = 1
    is_settled: bool = False

    @property
    def width(self) -> int:
        """Numbers in one vector."""
        return math.ceil(self.dimension / self.packing)

    @property
    def row(self) -> int:
        """Bytes of one vector in memory."""
        return self.width * self.itemsize

    def working(self, request_bytes: int) -> int:
        """Return the bytes that are needed only while the request runs."""
        return request_bytes + 3 * READ_BUFSIZE + TEXT_BYTES_PER_NUMBER * self.width + FIXED_COST

    def waiting(self, inputs: int, text_memory: int) -> int:
        """Return the bytes that are needed until the consumer has taken the results: texts and vectors."""
        return text_memory + inputs * (RESULT_COST + self.row)

    def total(self, inputs: int, request_bytes: int, text_memory: int) -> int:
        """Return the bytes to reserve before the request starts."""
        return self.working(request_bytes) + self.waiting(inputs, text_memory)

    def largest_value(self, request_bytes: int) -> int:
        """Return the maximum bytes of one vector or one echoed text in a response."""
        numbers = max(self.width, ASSUMED_DIMENSION if self.is_settled else LARGEST_DIMENSION)
        return ROW_TEXT_BYTES * numbers + ECHO_BYTES * request_bytes

    def largest_response(self, inputs: int, request_bytes: int) -> int:
        """Return the maximum bytes of a valid response to such a request, by what is known now.

        The first vector may be larger than assumed. Once it is complete, the caller raises the limit for the others;
        the bytes read until then are within this limit.
        """
        others = (inputs - 1) * ROW_TEXT_BYTES * max(self.width, ASSUMED_DIMENSION)
        if others:
            others = max(others, 3 * READ_BUFSIZE)
        return self.largest_value(request_bytes) + others + FIXED_COST
