"""Services and servers that speak OpenAI's format, each in a few lines: its address, key and options.

`first` stands where a service publishes no maximum number of texts per request: requests start with that many texts and
grow while they succeed.
"""

from __future__ import annotations

from typing import ClassVar, Final

from asyncembed._models import Limits
from asyncembed.providers._base import Fields, Model, Models, Words
from asyncembed.providers.compatible import Compatible, Custom

_PLAIN: Final[Fields] = {"model": "model", "texts": "input"}
_SIZED: Final[Fields] = {**_PLAIN, "dimensions": "dimensions"}
_QWEN: Final = (64, 128, 256, 512, 768, 1024, 1536, 2048)
_BGE_M3: Final = Model(dimension=1024, max_tokens=8192)


class OpenRouter(Compatible):
    """OpenRouter; it uses the names of its upstream models."""

    name, base_url, key_variables = "openrouter", "https://openrouter.ai/api/v1", ("OPENROUTER_API_KEY",)
    default_model = "openai/text-embedding-3-small"
    models: ClassVar[Models] = {"openai/text-embedding-3-small": Model(dimension=1536)}
    fields: ClassVar[Fields] = {**_SIZED, "input_type": "input_type"}


class Nvidia(Compatible):
    """NVIDIA's API catalogue, and NIM servers with `base_url`."""

    name, base_url, key_variables = "nvidia", "https://integrate.api.nvidia.com/v1", ("NVIDIA_API_KEY",)
    default_model, limits = "nvidia/nv-embedqa-e5-v5", Limits(inputs=2_048, first=50)
    fields: ClassVar[Fields] = {**_SIZED, "input_type": "input_type", "truncate": "truncate"}
    words: ClassVar[Words] = {"input_type": {"document": "passage", "query": "query"}}
    long_text: ClassVar = {"fail": "NONE", "truncate": "END"}


class Together(Compatible):
    """Together."""

    name, base_url, key_variables = "together", "https://api.together.ai/v1", ("TOGETHER_API_KEY",)
    hosts, base_url_variable = ("api.together.xyz",), "TOGETHER_BASE_URL"
    default_model, fields = "BAAI/bge-base-en-v1.5", _PLAIN
    models: ClassVar[Models] = {"BAAI/bge-base-en-v1.5": Model(dimension=768, dimensions=(), max_tokens=512)}


class Fireworks(Compatible):
    """Fireworks; it refuses unknown fields, including `encoding_format`."""

    name, base_url, key_variables = "fireworks", "https://api.fireworks.ai/inference/v1", ("FIREWORKS_API_KEY",)
    default_model, fields, limits = "nomic-ai/nomic-embed-text-v1.5", _SIZED, Limits(inputs=2_048, first=8)
    models: ClassVar[Models] = {"nomic-ai/nomic-embed-text-v1.5": Model(dimension=768)}


class DeepInfra(Compatible):
    """DeepInfra; it pads vectors with zeros if a request asks for more dimensions than the model has."""

    name, base_url = "deepinfra", "https://api.deepinfra.com/v1/openai"
    key_variables = ("DEEPINFRA_API_KEY", "DEEPINFRA_API_TOKEN")
    default_model, limits = "BAAI/bge-m3", Limits(inputs=1_024, first=64)
    models: ClassVar[Models] = {"BAAI/bge-m3": Model(dimension=1024, dimensions=range(32, 1025), max_tokens=8192)}
    base64 = "offered"


class SiliconFlow(Compatible):
    """SiliconFlow."""

    name, base_url, key_variables = "siliconflow", "https://api.siliconflow.cn/v1", ("SILICONFLOW_API_KEY",)
    hosts, default_model, limits = ("api.siliconflow.com",), "BAAI/bge-m3", Limits(inputs=2_048, first=32)
    models: ClassVar[Models] = {"BAAI/bge-m3": _BGE_M3}


class DashScope(Compatible):
    """Alibaba's DashScope outside China; in China, pass its `base_url`."""

    name, base_url = "dashscope", "https://dashscope-intl.aliyuncs.com/compatible-mode/v1"
    hosts, base_url_variable, key_variables = ("dashscope*.aliyuncs.com",), "DASHSCOPE_BASE_URL", ("DASHSCOPE_API_KEY",)
    default_model, limits = "text-embedding-v4", Limits(inputs=10)
    models: ClassVar[Models] = {"text-embedding-v4": Model(dimension=1024, dimensions=_QWEN)}


class VLLM(Compatible):
    """vLLM on this machine, or on another machine with `base_url`."""

    name, base_url, base64 = "vllm", "http://127.0.0.1:8000/v1", "seen"
    refuses_long_texts = True


class Infinity(Compatible):
    """infinity on this machine, or on another machine with `base_url`."""

    name, base_url, base64 = "infinity", "http://127.0.0.1:7997", "seen"


class LlamaCpp(Compatible):
    """llama.cpp's server, which has one model, on this machine, or on another machine with `base_url`."""

    name, base_url, base64, default_model = "llamacpp", "http://127.0.0.1:8080/v1", "seen", "default"
    refuses_long_texts = True


class LMStudio(Compatible):
    """LM Studio on this machine, or on another machine with `base_url`; it always answers with numbers."""

    name, base_url, fields = "lmstudio", "http://127.0.0.1:1234/v1", _SIZED


PRESETS: Final = (
    OpenRouter,
    Nvidia,
    Together,
    Fireworks,
    DeepInfra,
    SiliconFlow,
    DashScope,
    VLLM,
    Infinity,
    LlamaCpp,
    LMStudio,
    Custom,
)
