"""One file per task, for Ray tasks, Dask, Airflow and Slurm arrays.

Engines repeat the task of a worker that died, and pay again for what it had received. Here each task writes a file of
its own with `embed_to_file`, whose journal lies beside it on the shared disk. So a repeated task pays only for what is
missing. The journal's lock keeps two workers from the same part.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, Unpack

from asyncembed._exceptions import ConfigurationError
from asyncembed._missing import missing
from asyncembed._models import EmbedInput
from asyncembed._sync import SyncEmbedder

try:
    import pyarrow as pa
    import pyarrow.parquet as pq
except ImportError:
    raise missing("asyncembed.parts", "pyarrow", "arrow") from None

if TYPE_CHECKING:
    from collections.abc import Iterator

    from asyncembed._models import RunSummary
    from asyncembed._options import EmbedOptionsArgs
    from asyncembed._spec import ClientSpec
    from asyncembed.sinks import FormatName

ROWS_AT_ONCE: Final = 1_000
EMPTY: Final = ".empty"
"""Suffix of the file that says that a part has no text, and so no file of vectors."""

SUFFIXES: Final = frozenset({".parquet", ".arrow", ".npy", ".npz", ".jsonl"})


def embed_part(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    spec: ClientSpec,
    *,
    id: str | None = None,  # noqa: A002  # as the file's ids are called everywhere
    text: str = "text",
    on_error: Literal["raise", "skip"] = "raise",
    keep_text: bool = True,
    format: FormatName | None = None,  # noqa: A002  # as numpy, pandas and pyarrow call it
    **options: Unpack[EmbedOptionsArgs],
) -> RunSummary:
    """Embed the texts of one Parquet file into one file of vectors, or continue where an earlier task ended.

    It is a plain function of plain values, so you can submit it to any engine. `spec.share(workers)` divides a rate
    limit among the workers. Null and empty texts have no row. A part without any text gets no file of vectors, but an
    empty file `TARGET.empty`, which tells `parts` that it is finished.

    Args:
        source: The Parquet file.
        target: The new file, on a disk that all workers see.
        spec: The settings of the client.
        id: The column of ids. Without it, the id of a row is its number in the source.
        text: The column of texts.
        on_error: As for `embed_to_file`.
        keep_text: Whether the file also holds the texts.
        format: As for `embed_to_file`.
        **options: See `EmbedOptionsArgs`.

    Returns:
        The summary of the part; `earlier` in it is the share of earlier tasks.

    Raises:
        ConfigurationError: if the source has no such column or is damaged, or another worker is writing this part.
        ResumeError: if the existing file was made of other texts, or with another model or options.
        AsyncEmbedError: if a text cannot be embedded; the vectors that have arrived are kept.
    """
    _check_columns(source, *filter(None, (id, text)))
    with SyncEmbedder(spec) as embedder:
        summary = embedder.embed_to_file(
            _rows(source, id, text),
            target,
            resume=True,
            on_error=on_error,
            keep_text=keep_text,
            format=format,
            **options,
        )
    if not summary.saved and not summary.failed:
        _empty(Path(target)).touch()
    return summary


def parts(
    folder: str | os.PathLike[str], target: str | os.PathLike[str], *, suffix: str = ".parquet"
) -> list[tuple[Path, Path]]:
    """Return source and target of each unfinished part: one for each Parquet file of a folder, in order of name.

    It creates the folder of the targets if that does not exist.

    Args:
        folder: The folder of the sources.
        target: The folder of the files of vectors.
        suffix: The suffix of these files, which decides their format.

    Raises:
        ConfigurationError: if the folder holds no Parquet file, or both folders are the same.
    """
    sources, targets = Path(folder), Path(target)
    if suffix not in SUFFIXES:
        raise ConfigurationError(f"suffix={suffix!r} is unknown; use one of {', '.join(sorted(SUFFIXES))}")
    found = sorted(each for each in sources.glob("*.parquet") if each.is_file())
    if not found:
        raise ConfigurationError(f"{sources} holds no .parquet file")
    targets.mkdir(parents=True, exist_ok=True)
    if targets.samefile(sources):
        raise ConfigurationError("target= must not be the folder of the sources")
    pairs = [(source, targets / source.with_suffix(suffix).name) for source in found]
    return [(source, made) for source, made in pairs if not made.exists() and not _empty(made).exists()]


def _empty(target: Path) -> Path:
    return target.with_name(target.name + EMPTY)


@contextmanager
def _reading(source: str | os.PathLike[str]) -> Iterator[None]:
    """Turn the errors of pyarrow about a damaged file into a `ConfigurationError` that names it."""
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:  # of the operating system, such as FileNotFoundError
            raise
        raise ConfigurationError(f"{os.fspath(source)} cannot be read as a Parquet file: {error}") from error


def _check_columns(source: str | os.PathLike[str], *columns: str) -> None:
    with _reading(source):
        there = pq.read_schema(source).names
    if absent := [column for column in columns if column not in there]:
        raise ConfigurationError(f"{os.fspath(source)} has no column {absent[0]!r}; it has: {', '.join(there)}")


def _rows(source: str | os.PathLike[str], id_column: str | None, text_column: str) -> Iterator[EmbedInput]:
    columns = [text_column] if id_column in {None, text_column} else [str(id_column), text_column]
    number = 0
    with _reading(source), pq.ParquetFile(source) as file:
        for batch in file.iter_batches(ROWS_AT_ONCE, columns=columns):
            texts = batch.column(text_column).to_pylist()
            ids = batch.column(id_column).to_pylist() if id_column else range(number, number + len(texts))
            number += len(texts)
            for item, text in zip(ids, texts, strict=True):
                if text:
                    yield EmbedInput(text, item)
