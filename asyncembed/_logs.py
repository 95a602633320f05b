"""Events as lines of a log: `request_ended provider=openai model=m run=1f0c... request=3 seconds=0.213 vectors=96`.

The fields are in the record too, as `record.fields`, with the event's name as `record.event`. Nothing is shown unless
the application says so; a healthy run has nothing to say above DEBUG.
"""

from __future__ import annotations

import logging
from dataclasses import fields
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

    from asyncembed._events import Event

LOGGER: Final = logging.getLogger("asyncembed")
LOGGER.addHandler(logging.NullHandler())


def write(event: Event, level: int) -> None:
    """Log an event, if that level is logged."""
    if not LOGGER.isEnabledFor(level):
        return
    known = {field.name: getattr(event, field.name) for field in fields(event)}
    known = {name: value for name, value in known.items() if value is not None and value != ""}
    line = " ".join(f"{name}={_shown(value)}" for name, value in known.items())
    template = f"{event.name} %s"
    LOGGER.log(level, template, line, extra={"event": event.name, "fields": known})


def _shown(value: object) -> str:
    """Write a value so that it is one word, or in quotes; nothing in it can begin a line of its own."""
    if isinstance(value, tuple):
        return ranges(value)
    if isinstance(value, float):
        return str(round(value, 4))
    words = str(value)
    return words if words.isprintable() and not set(words) & set(" '\"=") else repr(words)


def ranges(numbers: Iterable[int]) -> str:
    """Write ascending numbers as ranges: "0-4,7"."""
    found: list[tuple[int, int]] = []
    for number in numbers:
        first = found.pop()[0] if found and found[-1][1] == number - 1 else number
        found.append((first, number))
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in found)
