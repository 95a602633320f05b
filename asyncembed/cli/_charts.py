"""Line charts over time, as SVG. Axes have round numbers; lines differ in colour and dash pattern."""

from __future__ import annotations

import math
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Final

from asyncembed.cli._progress import duration

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

WIDTH, HEIGHT = 640, 220
LEFT, RIGHT, TOP, BOTTOM = 56, 12, 12, 28
_STEPS: Final = (1, 2, 2.5, 5, 10)


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a chart.

    Attributes:
        name: Name in the legend.
        values: One value for each time of the chart.
        is_limit: Whether the line is a limit and not a measurement; it is drawn dashed.
    """

    name: str
    values: Sequence[float]
    is_limit: bool = False


def chart(title: str, unit: str, times: Sequence[float], lines: Sequence[Line]) -> str:
    """Return an HTML figure with a title, a legend and the lines.

    Args:
        title: Title of the chart.
        unit: Unit of the values.
        times: Times in seconds, ascending; at least one.
        lines: The lines to draw.
    """
    tallest = max((value for line in lines for value in line.values), default=0)
    ticks = _ticks(tallest)
    end = max(times[-1], 1e-3)
    body = "".join([*_grid(ticks, end), *(_line(line, times, end, ticks[-1], n) for n, line in enumerate(lines))])
    label = escape(f"{title} over time, in {unit}", quote=True)
    return (
        f"<figure><figcaption>{escape(title)} <small>{escape(unit)}</small>{_legend(lines)}</figcaption>"
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}">{body}</svg></figure>'
    )


def _ticks(tallest: float) -> list[float]:
    """Return round numbers at equal distances, from 0 to at least `tallest`."""
    rough = max(tallest, 1) / 4
    power = 10 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in _STEPS if factor * power >= rough)
    return [step * number for number in range(math.ceil(max(tallest, 1) / step) + 1)]


def _grid(ticks: Sequence[float], end: float) -> Iterator[str]:
    for tick in ticks:
        y = _y(tick, ticks[-1])
        yield f'<line class=grid x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
        yield f'<text class=tick x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{tick:,.5g}</text>'
    for quarter in range(5):
        x, seconds = _x(end * quarter / 4, end), end * quarter / 4
        label = _time(seconds, end)
        anchor = "end" if quarter == 4 else "middle"  # noqa: PLR2004
        yield f'<text class=tick x="{x:.1f}" y="{HEIGHT - 8}" text-anchor="{anchor}">{label}</text>'


def _time(seconds: float, end: float) -> str:
    """Return a time on an axis up to `end`, with as many digits as tell its ticks apart."""
    if end >= 20:  # noqa: PLR2004
        return duration(seconds)
    return f"{seconds:.1f} s" if end >= 1 else f"{1_000 * seconds:.3g} ms"


def _line(line: Line, times: Sequence[float], end: float, top: float, number: int) -> str:
    points = " ".join(f"{_x(t, end):.1f},{_y(v, top):.1f}" for t, v in zip(times, line.values, strict=True))
    return f'<polyline class="{_class(line, number)}" points="{points}"><title>{escape(line.name)}</title></polyline>'


def _legend(lines: Sequence[Line]) -> str:
    if len(lines) == 1:
        return ""
    keys = (f'<span class="key {_class(line, n)}">{escape(line.name)}</span>' for n, line in enumerate(lines))
    return "".join(keys)


def _class(line: Line, number: int) -> str:
    return "limit" if line.is_limit else f"series{number}"


def _x(seconds: float, end: float) -> float:
    return LEFT + (WIDTH - LEFT - RIGHT) * seconds / end


def _y(value: float, top: float) -> float:
    return TOP + (HEIGHT - TOP - BOTTOM) * (1 - value / top)
