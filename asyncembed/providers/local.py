"""The embedded server, which speaks Cohere's v2 API on loopback with a small real model behind it."""

from __future__ import annotations

from asyncembed.providers.cohere import CohereFormat


class Local(CohereFormat):
    """No key, no network: the client starts the server when it is first needed, unless `base_url` names one."""

    name = "local"
    is_embedded = True
    default_model = "local"
    base64 = "seen"
