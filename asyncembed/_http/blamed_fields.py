"""Finds the request fields and the positions of texts that an error answer blames. Pure: no I/O."""

from __future__ import annotations

import re
from itertools import chain
from typing import TYPE_CHECKING, Final

from asyncembed._exceptions import TEXT_FIELDS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping


MAX_NAMED: Final = 100
"""Maximum number of blamed fields and of blamed positions."""

_NO_FIELDS: Final = frozenset({
    "attributes", "body", "data", "header", "headers", "options", "parameters", "params", "query", "root"
})  # fmt: skip
_CONTAINERS: Final = _NO_FIELDS | {"instances", "requests"}
"""Objects that contain the fields."""

_STEP: Final = r"[A-Za-z_][\w-]*|\d{1,9}"
_PLAIN_STEP: Final = r"[\w.$/#-]+(?:\[\d+\][\w.]*)*"
"""A step that is a name or index. Pydantic also writes the member of a union, such as "list[str]"."""

# Strings, which `re` compiles and caches on first use: compiling is slow, and few programs meet such an error.
_PATH: Final = (
    r"(?i)(?<![\w.-])(?:\$\.|#/|body\.|\w{0,60}request\.)?((?:inputs?|texts?|contents?|requests|instances|documents?|prompts?)"
    r"(?: ?\[\d{1,6}\]|[./]\d{1,6}\b)[\w.\[\]/]{0,200})"
)
_FAULT_IN_REPR: Final = r"""['"]loc['"]\s*:\s*[\[(]([^\])]{1,200})[\])]"""
_FAULT_IN_LINES: Final = r"validation errors? for [\w.\[\]]+\s*\n([\w.-]{1,200})\s*\n"
_PATHS: Final = (_PATH, _FAULT_IN_REPR, _FAULT_IN_LINES)

_ONE: Final = (
    "(?:input|text|item|element|document|string|example|sentence|prompt|instance|passage|chunk|entry|row|query)"
)
_VERB: Final = "(?:is|has|was|had|contains?|cannot|could|must|exceeds|failed|of|in)"
_POSITIONS: Final = (
    rf"(?i)\b{_ONE}s? ?\[(\d{{1,6}})\](?!\w)",
    rf"(?i)\b{_ONE}s? (?:at |with |in )?(?:the )?(?:index|position|place)(?: of)?:? #?(\d{{1,6}})\b(?!\.\d)",
    rf"(?i)\b(?:index|position) #?(\d{{1,6}}) (?:of|in) (?:the |your )?(?:{_ONE}s?|batch|request)\b",
    rf"(?i)\b{_ONE} (?:number |no\.? ?)?#(\d{{1,6}})\b",
    rf"(?i)\b{_ONE} id (\d{{1,6}}) has\b",
    rf"(?i)\b{_ONE} (\d{{1,6}})(?= ?(?:[:;)]|$)|[.,](?!\d)| {_VERB}\b(?! \d))",
)
"""Phrases that name the position of a text. A count of tokens or texts must not match."""


def blamed(documents: Iterable[Mapping[str, object]], message: str) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Return the request fields that an error blames, and the positions of the texts that it names.

    Args:
        documents: The error document, and the one that its message quotes; either may be empty.
        message: The message.
    """
    fields: dict[str, None] = {}
    positions: set[int] = set()
    for steps in (*chain.from_iterable(map(_in_document, documents)), *_in_words(message)):
        names = [step for step in steps if not step.isdigit()]
        while len(names) > 1 and (names[0] in _CONTAINERS or _is_type(names[0])):
            names.pop(0)
        if names and names[0] not in _NO_FIELDS:
            fields[names[0]] = None
            if names[0].lower() in TEXT_FIELDS:
                positions.update([int(step) for step in steps if step.isdigit()][:1])
    if not positions:
        positions.update(int(found) for pattern in _POSITIONS for found in re.findall(pattern, message))
    return tuple(fields)[:MAX_NAMED], tuple(sorted(positions)[:MAX_NAMED])


def _in_document(document: Mapping[str, object]) -> Iterator[list[str]]:
    """Yield each path in the request that a field of the error names, as a list of steps."""
    for holder in (document.get("error"), document):
        if not isinstance(holder, dict):
            continue
        yield _steps(holder.get("param"))  # OpenAI
        for fault in _items(holder.get("detail")):
            yield _steps(fault.get("loc"))  # FastAPI
        for detail in _items(holder.get("details")):
            for violation in _items(detail.get("fieldViolations")):
                yield _steps(violation.get("field"))  # Google
        faults = holder.get("errors")
        for fault in _items(faults):
            yield _steps(fault.get("loc") or fault.get("field") or fault.get("param"))
        for name in faults if isinstance(faults, dict) else ():  # ASP.NET: lists of messages, by field
            yield _steps(name)


def _in_words(message: str) -> Iterator[list[str]]:
    for pattern in _PATHS:
        for found in re.findall(pattern, message):
            yield re.findall(_STEP, found)


def _is_type(name: str) -> bool:
    """Whether a step is the name of a type, such as "TextInput", rather than a field."""
    return name[:1].isupper() and name.lower() not in TEXT_FIELDS


def _items(value: object) -> list[Mapping[str, object]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _steps(place: object) -> list[str]:
    parts = [str(part) for part in (place if isinstance(place, list) else [place]) if isinstance(part, str | int)]
    parts = [part for part in parts if re.fullmatch(_PLAIN_STEP, part) and part not in {"None", "null"}]
    return [step for part in parts for step in re.findall(_STEP, part)]
