"""A document that is not JSON, made whole: what came before the fault, and what the fault does not concern.

Inside of an array of numbers, or of a string that is long, garbage spoils that value alone: these are cut out before
anything looks at the structure. Anywhere else it ends the document, and what is open there is closed.
"""

from __future__ import annotations

import json
import re
from typing import Final

from asyncembed.wire._cutter import LONGEST_INLINE

SCAN: Final = re.compile(r'"(?:[^"\\]|\\.)*"|["\[\]{}]', re.DOTALL)
STRING: Final = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)
# Whatever is no visible ASCII counts as white space before the first number.
NUMBERS: Final = re.compile(r'\[[^!-~]*(?:[-0-9NI][^"\[\]]*)?\]')
ENDINGS: Final = ("", ":null", "null")
MOST_FAULTS: Final = 60


def mended(text: str) -> tuple[str, bool]:
    """The nearest document that is JSON, as Python sees it, and whether that is all of it.

    Of one that a fault ends, it is what came before.
    """
    for _ in range(MOST_FAULTS):
        try:
            json.loads(text)
        except json.JSONDecodeError as error:
            whole = _without_fault(text, error.pos)
            if whole is None:
                return _closed(text, error.pos), _is_overlooked(text, error)
            text = whole
        else:
            return text, True
    return "null", False


def _is_overlooked(text: str, error: json.JSONDecodeError) -> bool:
    """Whether ijson's parser does not mind: a string behind the end of the document that has no end itself."""
    rest = text[error.pos :]
    return error.msg == "Extra data" and rest.startswith('"') and not STRING.match(rest)


def _without_fault(text: str, fault: int) -> str | None:
    """The document without the array or string that the fault lies in; None if it lies in neither."""
    opened, string = _open_at(text, fault)
    if string is not None:
        found = STRING.match(text, string)
        if found and len(found[0].encode("utf-8", "surrogateescape")) > LONGEST_INLINE + 2:
            return f'{text[:string]}"!"{text[found.end() :]}'
        return None
    for bracket in reversed(opened):
        if text[bracket] == "[" and (found := NUMBERS.match(text, bracket)):
            return f"{text[:bracket]}[]{text[found.end() :]}"
    if text[fault : fault + 1] in {"\v", "\f"}:  # white space to ijson's parser
        return f"{text[:fault]} {text[fault + 1 :]}"
    return None


def _open_at(text: str, fault: int) -> tuple[list[int], int | None]:
    """Where the containers begin that are open at the fault, and the string it lies in."""
    opened: list[int] = []
    for token in SCAN.finditer(text):
        start, first = token.start(), token[0][0]
        if start > fault or (start == fault and first != '"'):
            break
        if first == '"' and (token.end() > fault or len(token[0]) == 1):
            return opened, start
        if first in "[{":
            opened.append(start)
        elif first in "]}":
            opened[-1:] = []
    return opened, None


def _closed(text: str, fault: int) -> str:
    opened, string = _open_at(text, fault)
    rest = text[: fault if string is None else string].rstrip().removesuffix(",")
    closing = "".join("]" if text[bracket] == "[" else "}" for bracket in reversed(opened))
    for ending in ENDINGS:
        try:
            json.loads(whole := rest + ending + closing)
        except ValueError:
            continue
        return whole
    return "null"
