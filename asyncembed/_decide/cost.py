"""What a request may need in memory, reckoned before it starts."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

READ_BUFSIZE: Final = 131_072
"""Bytes at which a socket stops being read; aiohttp holds up to twice this, and one read is in our hands.

asyncio reads 256 KiB at once. With less than half of that, every full read stops the socket, only to start it again.
"""

FIXED_COST: Final = 65_536
"""Bytes for what every request needs besides: task, headers, parser."""

RESULT_COST: Final = 800
"""Bytes of the Python objects of one result: result, array, its buffer, index, text (about 750 by tracemalloc)."""

ASSUMED_DIMENSION: Final = 3_072
"""Dimension reckoned with until the first vector is seen: the largest among the common models."""

TEXT_BYTES_PER_NUMBER: Final = 26
"""Longest common JSON form of one number, its comma and white space included."""


LARGEST_DIMENSION: Final = 16_384
"""Dimension that a vector may always have, whatever was assumed: a response must not be refused for a large model."""

MAX_DIMENSIONS: Final = 65_536
"""A vector with more dimensions is refused unless they were asked for: no server may fill the memory."""

ROW_TEXT_BYTES: Final = 48
"""Most bytes one number takes in a response: 17 digits, sign, exponent, comma, and the white space of pretty JSON."""

ECHO_BYTES: Final = 6
r"""Most bytes one byte of a text takes when it is echoed: as \u0041."""


@dataclass(slots=True)
class CostModel:
    """What one request may need in memory, in bytes.

    `texts + request + 3 * read buffer + widest row as text + n * (row + objects) + fixed`: the texts exist as strings,
    which take up to four bytes a character, and in the body of the request; the read buffer is aiohttp's high-water
    mark plus one read; one array may be open; and n results may be waiting for the consumer.

    Attributes:
        dimension: Dimension of one vector, as it is known or assumed now.
        itemsize: Bytes of one number in memory.
        packing: Dimensions that one number holds: 8 where they are bits.
        is_settled: Whether no vector can have another dimension.
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
        """Bytes needed only while the request runs."""
        return request_bytes + 3 * READ_BUFSIZE + TEXT_BYTES_PER_NUMBER * self.width + FIXED_COST

    def waiting(self, inputs: int, text_memory: int) -> int:
        """Bytes needed until the consumer has taken the results: texts and vectors."""
        return text_memory + inputs * (RESULT_COST + self.row)

    def total(self, inputs: int, request_bytes: int, text_memory: int) -> int:
        """Bytes to reserve before the request starts."""
        return self.working(request_bytes) + self.waiting(inputs, text_memory)

    def largest_value(self, request_bytes: int) -> int:
        """Most bytes that one vector, or one echoed text, can have in a response."""
        numbers = max(self.width, ASSUMED_DIMENSION if self.is_settled else LARGEST_DIMENSION)
        return ROW_TEXT_BYTES * numbers + ECHO_BYTES * request_bytes

    def largest_response(self, inputs: int, request_bytes: int) -> int:
        """Most bytes that a right response to such a request can have, as far as that is known now.

        Its first vector may be larger than was assumed; when it is complete, the others may be as large, and what was
        read beyond it by then is some of them.
        """
        others = (inputs - 1) * ROW_TEXT_BYTES * max(self.width, ASSUMED_DIMENSION)
        if others:
            others = max(others, 3 * READ_BUFSIZE)
        return self.largest_value(request_bytes) + others + FIXED_COST
