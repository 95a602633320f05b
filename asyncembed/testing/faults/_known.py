"""Errors that services are known to send: which service, what the error means, and its bytes."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from asyncembed.testing.faults._shapes import Details, Number

if TYPE_CHECKING:
    from collections.abc import Mapping

    from asyncembed.testing.faults._shapes import Document

Meaning: TypeAlias = Literal[
    "key",
    "model",
    "quota",
    "option",
    "address",
    "long text",
    "bad text",
    "many texts",
    "many tokens",
    "many bytes",
    "base64",
    "busy",
    "slow",
]
"""What is to blame.

- "key", "model", "quota", "option" (an option or a dimension that the model does not have) and "address" (a wrong
  path): the request itself or the account. The service refuses every request.
- "long text" (more tokens than the model accepts) and "bad text" (content that the service refuses or fails on): one
  text. The service refuses every request that holds it.
- "many texts", "many tokens" and "many bytes": the size of the request.
- "base64": the requested encoding.
- "busy": the service. It accepts the same request later.
- "slow": the service. It needs longer for the request than the gateway in front of it waits.
"""

OF_ONE_TEXT: Final[frozenset[Meaning]] = frozenset({"long text", "bad text"})
OF_SIZE: Final[frozenset[Meaning]] = frozenset({"many texts", "many tokens", "many bytes"})

_HTML: Final = "text/html"
_TEXT: Final = "text/plain; charset=utf-8"
_JSON: Final = "application/json"


@dataclass(frozen=True, slots=True, eq=False)
class KnownError:
    """An error that a service is known to send.

    Attributes:
        service: The sender: a service, a server, or a gateway such as "nginx".
        meaning: What is to blame.
        status: HTTP status, which need not match the meaning.
        body: Template of the body: an object or a list is sent as JSON, a string as HTML or plain text, bytes
            unchanged.
        form: A name that tells apart several answers of the service with the same meaning and status.
        headers: Additional headers.
        is_told: Whether a person who reads the answer can see what is to blame.
        is_billed: Whether the service charges for it, as for an answer with vectors.
    """

    service: str
    meaning: Meaning
    status: int
    body: Document | bytes
    form: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    is_told: bool = True
    is_billed: bool = False

    @property
    def name(self) -> str:
        """Meaning, status, service, and the form if it has one: "key 400 gemini"."""
        return f"{self.meaning} {self.status} {self.service}" + f" ({self.form})" * bool(self.form)

    @property
    def names_position(self) -> bool:
        """Whether the error names the position of the text that is to blame."""
        return _holds_position(self.body)

    def content(self, details: Details) -> tuple[bytes, str]:
        """Return the body and its media type.

        Args:
            details: Facts about the request, which fill the template.
        """
        if isinstance(self.body, bytes):
            return self.body, _JSON
        document = details.fill(self.body)
        if isinstance(document, str):
            return document.encode(), _HTML if document.startswith("<") else _TEXT
        return json.dumps(document).encode(), _JSON


def _holds_position(document: Document | bytes) -> bool:
    if isinstance(document, Number):
        return document.name == "position"
    if isinstance(document, str):
        return "{position}" in document
    if isinstance(document, dict):
        return any(map(_holds_position, document.values()))
    return isinstance(document, list) and any(map(_holds_position, document))
