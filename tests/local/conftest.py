from __future__ import annotations

from typing import TYPE_CHECKING

import aiohttp
import numpy as np
import pytest

from asyncembed.local import LocalModel, LocalServer

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="session")
def model() -> LocalModel:
    pytest.importorskip("model2vec")
    return LocalModel()


@pytest.fixture
def texts() -> list[str]:
    """One token, sentences, none known, emoji, other scripts, characters that JSON has to escape."""
    return [
        "cat",
        "The quick brown fox jumps over the lazy dog.",
        'quoted "words", a [1, 2] list and a back\\slash\nover two lines\t\x01',
        "smile \N{GRINNING FACE} and family \N{MAN}\N{ZERO WIDTH JOINER}\N{WOMAN}\N{ZERO WIDTH JOINER}\N{GIRL}",
        "\N{GRINNING FACE}",
        "naïve café, Grüße, 世界, Привет",
        "a considerably longer text about rivers, mountains and the sea. " * 40,
    ]


@pytest.fixture
async def server(model):
    async with LocalServer(model=model) as running:
        yield running


@pytest.fixture
async def http(server):
    async with aiohttp.ClientSession(server.url) as session:
        yield session


@pytest.fixture
def long_text(model) -> str:
    """A text of more tokens than the model takes, whose words are one token each and all different in order."""
    words = [word for word in model._model.tokens if word.isascii() and word.isalpha() and len(word) > 3]
    text = " ".join(words[: model.max_tokens + 100])
    assert model.count_tokens([text]) == [model.max_tokens + 100]
    return text


@pytest.fixture
def small_model_folder(tmp_path) -> Path:
    """A model of six words and five dimensions, with weights and a mapping, as vocabulary quantisation makes them."""
    pytest.importorskip("model2vec")
    from model2vec import StaticModel
    from tokenizers import Tokenizer, models, pre_tokenizers

    tokenizer = Tokenizer(models.WordLevel({"[UNK]": 0, "a": 1, "b": 2, "c": 3, "d": 4, "e": 5}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    small = StaticModel(
        np.random.default_rng(1).normal(size=(4, 5)).astype(np.float32),
        tokenizer,
        weights=np.linspace(0.5, 2, 6, dtype=np.float32),
        token_mapping=np.array([0, 1, 2, 3, 3, 0]),
        normalize=True,
    )
    folder = tmp_path / "small"
    small.save_pretrained(folder)
    return folder
