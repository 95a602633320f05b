"""The embedded server, which has a small real model; the client speaks Cohere's v2 API with it on loopback."""

from __future__ import annotations

from asyncembed.providers.cohere import CohereFormat


class Local(CohereFormat):
    """The embedded server, without key and network; the client starts it on demand, unless you pass `base_url`."""

    name = "local"
    is_embedded = True
    default_model = "local"
    base64 = "seen"
