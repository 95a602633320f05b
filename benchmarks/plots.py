"""The plots of the README and of the results. Only this module needs matplotlib."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.axes import Axes

    Row = dict[str, Any]

MEMORY_TICKS = (50, 100, 200, 500, 1_000, 2_000)
INK, FAINT, GRID = "#1c2330", "#667085", "#e3e7ee"
OURS, BARE, PEER = "#1b62c4", "#98a2b3", "#c2570c"
COLOURS = {"callback": OURS, "npy": "#12704a", "parquet": PEER, "cohere": "#8a3ab9"}
NUDGES = {"callback": -2, "npy": 4}  # points: these labels would overlap otherwise
LABELS = {
    "callback": "callback",
    "npy": ".npy file",
    "parquet": ".parquet file (pyarrow)",
    "cohere": "cohere SDK: embed",
    "stream-floats": "asyncembed: embed_stream",
    "blocks-floats": "asyncembed: embed_binary_stream",
    "bare-slice-simdjson": "bare aiohttp + slice + simdjson",
    "bare-simdjson": "bare aiohttp + simdjson",
    "baseten": "Baseten client (Rust)",
    "bare-orjson": "bare aiohttp + orjson",
    "bare-ijson": "bare aiohttp + ijson",
    "httpx-json": "httpx + json",
    "cohere-embed": "cohere SDK: embed",
    "cohere-stream": "cohere SDK: embed_stream",
    "stream-base64": "asyncembed: embed_stream",
    "blocks-base64": "asyncembed: embed_binary_stream",
    "embed-base64": "asyncembed: embed",
    "bare-slice-base64": "bare aiohttp + slice + pybase64",
    "bare-orjson-base64": "bare aiohttp + orjson + pybase64",
    "baseten-base64": "Baseten client (Rust)",
    "voyageai": "voyageai SDK",
    "openai": "openai SDK",
    "litellm": "litellm",
    "langchain-openai": "langchain-openai",
}
FLOATS = (
    "stream-floats", "blocks-floats", "bare-slice-simdjson", "bare-simdjson", "baseten", "bare-orjson", "bare-ijson",
    "httpx-json", "cohere-embed", "cohere-stream",
)  # fmt: skip
BASE64 = (
    "stream-base64", "blocks-base64", "embed-base64", "bare-slice-base64", "bare-orjson-base64", "baseten-base64",
    "voyageai", "openai", "langchain-openai", "litellm",
)  # fmt: skip
SIZES = {"count": "texts", "dimension": "dimensions", "batch": "texts in a request", "concurrency": "requests at once"}
LINES = {"stream-floats": PEER, "stream-base64": OURS, "blocks-base64": "#12704a"}
LINE_LABELS = {
    "stream-floats": "embed_stream, floats",
    "stream-base64": "embed_stream, base64",
    "blocks-base64": "embed_binary_stream, base64",
}


def plot_throughput(rows: list[Row], path: Path, on: Row) -> None:
    """Draw one bar per client: processor time per embedding, for floats and for base64."""
    cost = {row["way"]: row["cpu_us"] for row in rows if not row["tls"]}
    panels = [
        ("JSON floats, µs of processor time per embedding", [way for way in FLOATS if way in cost]),
        ("base64, µs of processor time per embedding", [way for way in BASE64 if way in cost]),
    ]
    _style()
    figure = Figure(figsize=(9, 0.32 * sum(len(ways) for _, ways in panels) + 1.6), layout="constrained")
    every = figure.subplots(2, 1, height_ratios=[max(len(ways), 1) for _, ways in panels])
    for axes, (title, ways) in zip(every, panels, strict=True):
        _bars(axes, ways, [cost[way] for way in ways])
        axes.set_title(f"{title}, {rows[0]['dimension']:,} dimensions (logarithmic)", loc="left", fontsize=10)
    figure.text(
        0.01, -0.03, f"{on['processor']}, Python {on['python']}; versions in throughput.md", color=FAINT, fontsize=8
    )
    figure.savefig(path, metadata={"Date": None}, bbox_inches="tight")


def _bars(axes: Axes, ways: list[str], costs: list[float]) -> None:
    ours = ("stream", "blocks", "embed")
    colours = [OURS if way.startswith(ours) else BARE if way.startswith(("bare", "httpx")) else PEER for way in ways]
    axes.barh(range(len(ways)), costs, color=colours)
    axes.set_yticks(range(len(ways)), [LABELS[way] for way in ways], fontsize=9)
    axes.invert_yaxis()
    axes.set_xscale("log")
    for place, value in enumerate(costs):
        axes.annotate(
            f"{value:,.0f}", (value, place), xytext=(4, 0), textcoords="offset points", va="center", fontsize=9
        )
    axes.set_xlim(min(costs) / 2, max(costs) * 2.5)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="x", color=GRID)
    axes.set_axisbelow(True)


def plot_scaling(rows: list[Row], path: Path, on: Row) -> None:
    """Draw the cost per embedding against each size of a run."""
    _style()
    sizes = list(dict.fromkeys(row["size"] for row in rows))
    figure = Figure(figsize=(9, 2.6 * -(-len(sizes) // 2)), layout="constrained")
    every = figure.subplots(-(-len(sizes) // 2), 2, squeeze=False).flat
    for axes, size in zip(every, sizes, strict=False):
        for way, colour in LINES.items():
            points = [(row[size], row["cpu_us"]) for row in rows if row["size"] == size and row["way"] == way]
            axes.plot(*zip(*points, strict=True), marker="o", color=colour, label=LINE_LABELS[way])
        axes.set(xscale="log", yscale="log", xlabel=SIZES[size], ylabel="CPU µs")
        values = sorted({row[size] for row in rows if row["size"] == size})
        axes.set_xticks(values, [f"{value:,}" for value in values], fontsize=8)
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter("{x:,.0f}")
        axes.minorticks_off()
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(color=GRID)
    every[0].legend(fontsize=8, frameon=False)
    figure.savefig(path, metadata={"Date": None})


def plot_memory(rows: list[Row], path: Path, on: Row) -> None:
    """Draw peak memory against the number of texts, one line per way."""
    _style()
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
    axes.set_yticks(MEMORY_TICKS, [f"{tick:,}" for tick in MEMORY_TICKS])
    axes.set_xlim(8_000, 12_000_000)
    counts = sorted({row["count"] for row in rows if row["count"]})
    axes.set_xticks(counts, [f"{count:,}" for count in counts])
    axes.minorticks_off()
    axes.grid(axis="y", color=GRID)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_title(
        f"Memory does not grow with the work: {on['dimension']} dimensions, JSON floats", loc="left", fontsize=11
    )
    figure.savefig(path, metadata={"Date": None})


def _style() -> None:
    mpl.rcParams.update({"svg.hashsalt": "asyncembed", "font.family": "sans-serif", "text.color": INK})
