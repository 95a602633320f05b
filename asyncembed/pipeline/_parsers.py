"""The parsers of a run: its responses have the same form, so each begins with what the ones before it have taught."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from asyncembed.wire._parser import ResponseParser

if TYPE_CHECKING:
    from asyncembed._settings import EmbedOptions
    from asyncembed.pipeline._delivery import Delivery
    from asyncembed.providers import Provider
    from asyncembed.wire._gap import Gap
    from asyncembed.wire._layout import Layout


class Parsers:
    """Makes a parser for each response.

    Args:
        provider: Whose responses they are.
        options: What was asked for.
    """

    def __init__(self, provider: Provider, options: EmbedOptions) -> None:
        self._provider = provider
        self._options = options
        self._layouts: dict[str, Layout] = {}
        self._gaps: dict[str, Gap] = {}

    def new(
        self, encoding: Literal["base64", "float"], delivery: Delivery[Any], max_value_bytes: int
    ) -> ResponseParser[Any]:
        """Return a parser for a response in this encoding, whose vectors are decoded for `delivery`."""
        if encoding not in self._layouts:
            self._layouts[encoding] = self._provider.layout(self._options, encoding)
        layout, gap = self._layouts[encoding], self._gaps.get(encoding)
        return ResponseParser(layout, delivery.decode, max_value_bytes, delivery.decode_run, gap)

    def learn(self, encoding: str, parser: ResponseParser[Any]) -> None:
        """Keep what a parser has learned from its response."""
        self._gaps[encoding] = parser.gap
