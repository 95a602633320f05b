"""Texts, and whether what came back for them is right."""

from __future__ import annotations

import itertools
import pickle
from typing import TYPE_CHECKING

import aiohttp
import numpy as np

from asyncembed import AsyncEmbedError
from support.formats import DIMENSION, vector_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from asyncembed import EmbedResult, EmbedStream


def check_results(
    results: Sequence[EmbedResult], texts: Sequence[str], *, ordered: bool = True, dimension: int = DIMENSION
) -> None:
    """Fail unless there is one result for each text, in order if that was promised, each with its own vector."""
    indices = [result.index for result in results]
    assert (indices if ordered else sorted(indices)) == list(range(len(texts)))
    check_vectors(results, texts, dimension=dimension)


def check_vectors(results: Iterable[EmbedResult], texts: Sequence[str], *, dimension: int = DIMENSION) -> None:
    """Fail if a result has another text's vector; some results may be missing."""
    for result in results:
        assert result.text == texts[result.index]
        assert result.embedding.dtype == np.float32
        assert result.embedding.flags.writeable
        np.testing.assert_array_equal(result.embedding, vector_of(result.text, dimension))


async def take_all(stream: EmbedStream, results: list[EmbedResult]) -> None:
    """Add every result to `results`, where those stay that come before an error."""
    async for result in stream:
        results.append(result)  # noqa: PERF401  # one by one, or those before an error would be lost


def numbered(count: int, length: int = 0) -> list[str]:
    """Return `count` different texts of at least `length` characters."""
    return [f"text {number}".ljust(length, ".") for number in range(count)]


def endless() -> Iterator[str]:
    """Different texts without end."""
    return (f"text {number}" for number in itertools.count())


def chain_of(error: BaseException | None) -> Iterator[BaseException]:
    """The error and everything that a traceback of it would show."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def check_plain(error: BaseException, *, names_texts: bool = True) -> None:
    """Fail unless it is one error of our tree, with nothing of aiohttp or ijson behind it, that survives pickling."""
    assert isinstance(error, AsyncEmbedError)
    for link in chain_of(error):
        assert not isinstance(link, BaseExceptionGroup | aiohttp.ClientError)
        assert type(link).__module__.partition(".")[0] in {"asyncembed", "builtins"}
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error)
    assert (str(copy), vars(copy)) == (str(error), vars(error))
    assert bool(error.indices) == names_texts
