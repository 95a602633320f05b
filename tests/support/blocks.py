"""Rows for sinks, and files made of them without a client."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from asyncembed import AsyncEmbedError, EmbedFailure, EmbedInput
from asyncembed._models import EmbedBlock
from asyncembed.sinks import Label, find_format, open_output, open_vectors

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from asyncembed.sinks import Output, Provenance


def block_of(*rows: tuple[int, str, str | int | None, np.ndarray]) -> list[EmbedBlock]:
    """Rows of (index, text, id, vector) as blocks, one for each stretch of indices without a gap."""
    blocks: list[EmbedBlock] = []
    start = 0
    for place in range(1, len(rows) + 1):
        if place == len(rows) or rows[place][0] != rows[place - 1][0] + 1:
            part = rows[start:place]
            inputs = [EmbedInput(text, id_) for _, text, id_, _ in part]
            blocks.append(EmbedBlock(part[0][0], np.stack([row[3] for row in part]), inputs))
            start = place
    return blocks


def numbered_block(first: int, count: int, dimension: int = 4) -> EmbedBlock:
    """Rows whose numbers are their index."""
    vectors = np.repeat(np.arange(first, first + count, dtype=np.float32)[:, None], dimension, axis=1)
    return EmbedBlock(first, vectors, [EmbedInput(f"text {index}") for index in range(first, first + count)])


def with_failures(blocks: Sequence[EmbedBlock], first: int) -> list[EmbedBlock | EmbedFailure]:
    """The blocks, with a failure for every index from `first` on that none of them has."""
    items: list[EmbedBlock | EmbedFailure] = []
    for block in blocks:
        items += [EmbedFailure(index, "lost", None, AsyncEmbedError("lost")) for index in range(first, block.index)]
        items.append(block)
        first = block.index + block.span
    return items


def claim(path: Path, provenance: Provenance, *, resume: bool = False, overwrite: bool = False, total=None) -> Output:
    return open_output(path, find_format(path), provenance, resume=resume, overwrite=overwrite, total=total)


def write(path: Path, groups: Sequence[Sequence[EmbedBlock]], provenance: Provenance, *, overwrite=False) -> None:
    """Make a file, with a commit after each group."""
    output = claim(path, provenance, overwrite=overwrite)
    try:
        for group in groups:
            output.journal.add(with_failures(group, output.journal.settled))
        for _ in output.finish():
            pass
    finally:
        output.close()


def read(path: Path) -> tuple[list[Label], np.ndarray]:
    """All rows of a file: labels and matrix."""
    labels, parts = [], []
    for block in open_vectors(path).blocks():
        labels += block.labels
        parts.append(block.vectors.copy())
    return labels, np.concatenate(parts)
