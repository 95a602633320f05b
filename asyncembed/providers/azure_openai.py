"""Azure OpenAI: OpenAI's wire format, with the deployment and the version of the API in the address.

The model is the name of a deployment, which does not reveal the model behind it: pass
`catalogue="text-embedding-3-small"` for that. The limits are OpenAI's. A key has a header of its own; an Entra token,
which is a JSON web token, is a bearer token.
"""

from __future__ import annotations

import re
from typing import ClassVar

from asyncembed._decide.signs import Sign
from asyncembed._models import Limits
from asyncembed.providers._base import Setting
from asyncembed.providers.compatible import Compatible
from asyncembed.providers.openai import OPENAI_MODELS


class AzureOpenAI(Compatible):
    """Azure OpenAI; `base_url` is the endpoint of the resource, `model` the name of a deployment."""

    name = "azure-openai"
    base_url_variable = "AZURE_OPENAI_ENDPOINT"
    path = "/openai/deployments/{model}/embeddings"
    query: ClassVar = {"api-version": Setting(("OPENAI_API_VERSION",), "2024-10-21")}
    key_variables = ("AZURE_OPENAI_API_KEY", "AZURE_OPENAI_AD_TOKEN")
    models = OPENAI_MODELS
    limits = Limits(inputs=2_048, tokens=300_000)
    refuses_long_texts = True
    base64 = "seen"
    signs = (Sign("key", status=401, code="401"), Sign("model", code="DeploymentNotFound"))

    def endpoint(self, model: str) -> re.Pattern[str]:
        """Return a pattern that also finds the path of the newer API, whose resource serves deployments as well."""
        return re.compile(rf"{super().endpoint(model).pattern}|/openai/v1(?:/embeddings)?\Z")

    def headers(self, api_key: str | None) -> dict[str, str]:
        """Return the header for a key, or the header for a token."""
        if not api_key:
            return {}
        is_token = re.fullmatch(r"eyJ[\w-]*\.[\w-]+\.[\w-]*", api_key, re.ASCII) is not None
        return {"Authorization": f"Bearer {api_key}"} if is_token else {"api-key": api_key}
