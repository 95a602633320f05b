"""The embedded server, which has a small real model; the client speaks Cohere's v2 API with it on loopback."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from asyncembed._config import check
from asyncembed._repr import shown
from asyncembed.providers._base import Model, Models
from asyncembed.providers.cohere import CohereFormat

if TYPE_CHECKING:
    from asyncembed._config import EmbedOptions


class Local(CohereFormat):
    """The embedded server, without key and network; the client starts it on demand, unless you pass `base_url`."""

    name = "local"
    is_embedded = True
    default_model = "local"
    models: ClassVar[Models] = {"local": Model(dimension=192, max_tokens=8_192)}
    base64 = "seen"

    def check_model(self, options: EmbedOptions) -> None:
        """Raise `ConfigurationError` for a model or an option that the embedded server does not have."""
        name = options.model
        check(name in self.models, f"model={shown(name)} is unknown; the embedded server has one model, 'local'")
        super().check_model(options)
