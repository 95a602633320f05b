"""The pictures of the README, drawn with matplotlib; only this module needs it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import matplotlib as mpl
from matplotlib.figure import Figure

if TYPE_CHECKING:
    from pathlib import Path

TICKS = (50, 100, 200, 500, 1_000, 2_000)
INK, FAINT, GRID = "#1c2330", "#667085", "#e3e7ee"
COLOURS = {"callback": "#1b62c4", "npy": "#12704a", "parquet": "#c2570c", "cohere": "#8a3ab9"}
NUDGES = {"callback": -2, "npy": 4}  # points: their lines are close to each other
LABELS = {
    "callback": "callback",
    "npy": ".npy file",
    "parquet": ".parquet file (pyarrow)",
    "cohere": "cohere SDK: embed",
}


def plot_memory(rows: list[dict[str, Any]], path: Path, machine: dict[str, Any]) -> None:
    """Draw peak memory against the number of texts, one line a way."""
    mpl.rcParams.update({"svg.hashsalt": "asyncembed", "font.family": "sans-serif", "text.color": INK})
    figure = Figure(figsize=(8, 4.2), layout="constrained")
    axes = figure.subplots()
    base = next(row["peak_mb"] for row in rows if row["way"] == "imports")
    for way, colour in COLOURS.items():
        points = sorted((row["count"], row["peak_mb"]) for row in rows if row["way"] == way)
        if not points:
            continue
        counts, peaks = zip(*points, strict=True)
        axes.plot(counts, peaks, marker="o", color=colour, linewidth=2)
        axes.annotate(
            f"{LABELS[way]}, {peaks[-1]:.0f} MB",
            (counts[-1], peaks[-1]),
            xytext=(8, NUDGES.get(way, 0)),
            textcoords="offset points",
            va="center",
            color=colour,
        )
    axes.axhline(base, color=FAINT, linestyle="--", linewidth=1)
    axes.annotate(f"imports alone, {base:.0f} MB", (0.01, base), xycoords=("axes fraction", "data"), xytext=(0, -12),
                  textcoords="offset points", color=FAINT, fontsize=9)  # fmt: skip
    axes.set(xscale="log", xlabel="texts", yscale="log", ylabel="peak resident memory, MB", ylim=(40, 2_000))
    axes.set_yticks(TICKS, [f"{tick:,}" for tick in TICKS])
    axes.set_xlim(8_000, 12_000_000)
    counts = sorted({row["count"] for row in rows if row["count"]})
    axes.set_xticks(counts, [f"{count:,}" for count in counts])
    axes.minorticks_off()
    axes.grid(axis="y", color=GRID)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_title(
        f"Memory does not grow with the work: {machine['dimension']} dimensions, JSON floats", loc="left", fontsize=11
    )
    figure.savefig(path, metadata={"Date": None})
