"""The model in memory: what it gives, what it loads, what it refuses."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from asyncembed import ConfigurationError
from asyncembed.local import LocalModel, _model
from asyncembed.local import _model as _vectors

pytest.importorskip("model2vec")


def test_same_vectors_as_model2vec(model, texts):
    from model2vec import StaticModel

    reference = StaticModel.from_pretrained(_model.BUNDLED).encode(texts, max_length=None, normalize=True)
    vectors = model.embed(texts)
    assert vectors.dtype == np.float32
    assert vectors.shape == (len(texts), model.dimension)
    known = np.array(model.count_tokens(texts)) > 0
    assert 0 < known.sum() < len(texts)
    np.testing.assert_allclose(vectors[known], reference[known], atol=1e-6)


def test_weights_and_mapping_count(small_model_folder):
    """A model with a quantised vocabulary gives what model2vec makes of it."""
    from model2vec import StaticModel

    texts = ["a", "a b c d e", "e e e d", "a nothing known b"]
    reference = StaticModel.from_pretrained(small_model_folder).encode(texts)
    np.testing.assert_allclose(LocalModel(small_model_folder).embed(texts), reference, atol=1e-6)


def test_vectors_have_length_one(model, texts):
    np.testing.assert_allclose(np.linalg.norm(model.embed(texts), axis=1), 1, rtol=1e-6)


@pytest.mark.parametrize(
    "text", [" ", "\t\n", "\u3000\u00a0", "\u200b", "\N{GRINNING FACE}", "\N{PILE OF POO}\ufe0f \N{ROCKET}", "\0"]
)
def test_a_text_without_a_known_token_has_a_vector_that_leans_no_way(model, text):
    """Also when it is cut short, and whatever stands beside it."""
    assert model.count_tokens([text]) == [0]
    vectors = model.embed(["a cat", text])
    np.testing.assert_allclose(vectors[1], model.dimension**-0.5, rtol=1e-6)
    np.testing.assert_array_equal(vectors[:1], model.embed(["a cat"]))
    np.testing.assert_array_equal(vectors[1:], LocalModel().embed([text]))
    np.testing.assert_allclose(_vectors.shorten(vectors, 32)[1], 32**-0.5, rtol=1e-6)


def test_the_vectors_of_other_texts_stay_what_they_were():
    """Files that were made with an earlier version can still be searched."""
    model = LocalModel()
    assert model.fingerprint == "a029550d3cd62836"
    vector = model.embed(["The quick brown fox jumps over the lazy dog."])[0]
    head = [-0.06620073, -0.21086161, -0.08336389, -0.27461046, -0.22066912, -0.08581576]
    np.testing.assert_allclose(vector[:6], head, atol=1e-6)


def test_8192_tokens_count(model, long_text):
    """The mean of a static model can be taken of any number of them."""
    assert model.max_tokens == 8_192
    words = long_text.split()
    assert (model.embed([" ".join(words[:8_191])]) != model.embed([" ".join(words[:8_192])])).any()
    np.testing.assert_array_equal(model.embed([" ".join(words[:8_192])]), model.embed([long_text]))


def test_related_texts_are_nearer(model):
    cat, kitten, inflation = model.embed(["a cat sleeps", "a sleeping kitten", "inflation and interest rates"])
    assert cat @ kitten > cat @ inflation + 0.2


def test_vector_does_not_depend_on_its_batch(model, texts):
    together = model.embed(texts)
    alone = np.vstack([model.embed([text]) for text in texts])
    np.testing.assert_array_equal(together, alone)


def test_blocks_do_not_show(model, texts, monkeypatch):
    """Tokenising in blocks gives what tokenising at once gives."""
    whole = model.embed(texts)
    monkeypatch.setattr(_model, "BLOCK_CHARACTERS", 50)
    np.testing.assert_array_equal(model.embed(texts), whole)


def test_only_the_first_tokens_count(model, long_text):
    cut = " ".join(long_text.split()[: model.max_tokens])
    np.testing.assert_array_equal(model.embed([long_text]), model.embed([cut]))


def test_no_texts(model):
    assert model.embed([]).shape == (0, model.dimension)
    assert model.count_tokens([]) == []


def test_fingerprint_tells_models_apart(model, small_model_folder):
    assert LocalModel().fingerprint == model.fingerprint
    assert LocalModel(small_model_folder).fingerprint != model.fingerprint


def test_folder_gives_the_name(small_model_folder):
    small = LocalModel(str(small_model_folder))
    assert small.name == "small"
    assert small.dimension == 5


def test_missing_folder_is_not_looked_up_in_a_hub():
    with pytest.raises(ConfigurationError, match=r"'minishlab/potion-base-8M' does not exist"):
        LocalModel("minishlab/potion-base-8M")


def test_folder_without_a_model(tmp_path):
    with pytest.raises(ConfigurationError, match="holds no readable model2vec model"):
        LocalModel(tmp_path)


def test_damaged_weights(small_model_folder):
    (small_model_folder / "model.safetensors").write_bytes(b"not safetensors")
    with pytest.raises(ConfigurationError, match="holds no readable model2vec model"):
        LocalModel(small_model_folder)


def test_missing_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "model2vec", None)
    with pytest.raises(ConfigurationError, match=r'pip install "asyncembed\[local\]"'):
        LocalModel()


def test_import_is_light():
    """Importing the package loads neither model2vec nor its tokeniser."""
    code = "import sys, asyncembed.local; sys.exit(bool({'model2vec', 'tokenizers'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
