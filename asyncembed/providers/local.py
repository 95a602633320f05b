"""The embedded server, which speaks Cohere's v2 API on loopback with a small real model behind it."""

from __future__ import annotations

from asyncembed.providers.cohere import Cohere


class Local(Cohere):
    """No key, no network: the client starts the server when it is first needed, unless `base_url` names one."""

    name = "local"
    base_url = None
    base_url_variable = None
    key_variables = ()
    default_model = "local"
    rate_limit = None
    dimensions = {}  # noqa: RUF012
    base64_by_default = True
