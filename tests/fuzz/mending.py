"""Repair a document that is not JSON: keep everything before the fault, and all values that the fault does not touch.

Garbage inside an array of numbers or a long string damages only that value, because the splitter cuts these out before
the structure is read. Anywhere else, garbage ends the document, and all open brackets are closed there.
"""

from __future__ import annotations

import json
import re
from typing import Final, NamedTuple

from asyncembed._parser.splitter import MAX_INLINE

from .oracle import parsed

# Complete parts: text outside of brackets, strings, arrays of numbers, and objects of these, matched at once.
PLAIN: Final = r'[^"\[\]{}]++|"(?:[^"\\]|\\.)*"|\[[^"\[\]{}]*+\]'
CLOSED: Final = re.compile(rf"(?:{PLAIN}|\{{(?:{PLAIN})*\}})*", re.DOTALL)
STRING: Final = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)
# Every byte that is not visible ASCII counts as white space before the first number.
NUMBERS: Final = re.compile(r'\[[^!-~]*(?:[-0-9NI][^"\[\]]*)?\]')
ENDINGS: Final = ("", ":null", "null")
MOST_FAULTS: Final = 60


class Mended(NamedTuple):
    """The nearest document that Python accepts as JSON.

    Attributes:
        document: The parsed document.
        text: Its text.
        is_all: Whether it is the whole document; if a fault ends a document, it is the part before the fault.
        is_json: Whether the document needed no repair.
    """

    document: object
    text: str
    is_all: bool
    is_json: bool


def mended(text: str) -> Mended:
    """Repair a document if needed."""
    for fault in range(MOST_FAULTS):
        try:
            return Mended(parsed(text), text, is_all=True, is_json=not fault)
        except json.JSONDecodeError as error:
            whole = _without_fault(text, error.pos)
            if whole is None:
                return Mended(*_closed(text, error.pos), is_all=_is_overlooked(text, error), is_json=False)
            text = whole
    return Mended(None, "null", is_all=False, is_json=False)


def _is_overlooked(text: str, error: json.JSONDecodeError) -> bool:
    """Return whether ijson ignores the fault: an unterminated string after the end of the document."""
    rest = text[error.pos :]
    return error.msg == "Extra data" and rest.startswith('"') and not STRING.match(rest)


def _without_fault(text: str, fault: int) -> str | None:
    """Return the document without the array or string that holds the fault; None if the fault is in neither."""
    opened, string = _open_at(text, fault)
    if string is not None:
        found = STRING.match(text, string)
        if found and len(found[0].encode("utf-8", "surrogateescape")) > MAX_INLINE + 2:
            return f'{text[:string]}"!"{text[found.end() :]}'
        return None
    for bracket in reversed(opened):
        if text[bracket] == "[" and (found := NUMBERS.match(text, bracket)):
            return f"{text[:bracket]}[]{text[found.end() :]}"
    if text[fault : fault + 1] in {"\v", "\f"}:  # white space to ijson's parser
        return f"{text[:fault]} {text[fault + 1 :]}"
    return None


def _open_at(text: str, fault: int) -> tuple[list[int], int | None]:
    """Return where the containers that are open at the fault begin, and where the string around it begins."""
    opened: list[int] = []
    pos = 0
    while (pos := CLOSED.match(text, pos, fault).end()) < fault:  # type: ignore[union-attr]  # it matches nothing, too
        if text[pos] == '"':
            return opened, pos
        if text[pos] in "[{":
            opened.append(pos)
        else:
            opened[-1:] = []
        pos += 1
    return opened, fault if text.startswith('"', fault) else None


def _closed(text: str, fault: int) -> tuple[object, str]:
    opened, string = _open_at(text, fault)
    rest = text[: fault if string is None else string].rstrip().removesuffix(",")
    closing = "".join("]" if text[bracket] == "[" else "}" for bracket in reversed(opened))
    for ending in ENDINGS:
        try:
            return parsed(whole := rest + ending + closing), whole
        except ValueError:
            continue
    return None, "null"
