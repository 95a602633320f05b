"""What an API says when it refuses a request: every fact that its answer holds, in one value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from asyncembed._repr import ShortRepr

TEXT_FIELDS: Final = frozenset({
    "content", "contents", "document", "documents", "input", "input_ids", "input_text", "input_tokens", "inputs",
    "inputtext", "instances", "messages", "parts", "passage", "passages", "prompt", "prompts", "requests", "sentence",
    "sentences", "strings", "text", "texts",
})  # fmt: skip
"""What APIs call the field of a request that holds the texts, in lower case."""


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class ErrorAnswer(ShortRepr):
    """The facts of one error answer; keys are blotted out of all of them.

    Attributes:
        status: HTTP status.
        codes: Every error code, type and reason that it names, the most specific ones first.
        provider_message: What it says, at most 2,000 characters; of a page of HTML its title, on one line.
        fields: Fields of the request that it blames, without the objects around them: "dimensions", "input".
        positions: Positions of texts that it names, in ascending order; `named` checks them.
        is_api_form: Whether the body is JSON in a form that APIs use for their errors. A proxy or a firewall seldom
            writes that.
        is_html: Whether the body is a page of HTML.
        request_id: The provider's id of the request, for its support.
        retry_after: Seconds that it asks to wait, 0 or more.
        should_retry: What it says itself about trying again, in the header `x-should-retry`.
    """

    status: int
    codes: tuple[str, ...] = ()
    provider_message: str = ""
    fields: tuple[str, ...] = ()
    positions: tuple[int, ...] = ()
    is_api_form: bool = False
    is_html: bool = False
    request_id: str | None = None
    retry_after: float | None = None
    should_retry: bool | None = None

    @property
    def code(self) -> str | None:
        """The first code, if there is one."""
        return self.codes[0] if self.codes else None

    @property
    def blames_no_text(self) -> bool:
        """Whether it blames fields of the request, and none that holds texts."""
        return bool(self.fields) and TEXT_FIELDS.isdisjoint(field.lower() for field in self.fields)

    def named(self, count: int) -> tuple[int, ...]:
        """Return the positions of the texts it blames, in a request of `count` texts.

        A number that is no position in this request shows that the numbers mean something else: then there are none.
        """
        return self.positions if all(position < count for position in self.positions) else ()
