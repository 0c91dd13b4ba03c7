"""Small drawings as SVG text: lines, stacked bars, a grid of marks.

Every drawing is well-formed XML of its own with a title and a description for screen readers.
Colours come from the page by class (``s0`` ... ``s6``, ``axis``, ``grid``, ``mark-...``), so that
light, dark and print are the style sheet's business.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from fusion.reports.words import Words, escape, spans

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

NAMESPACE: Final = "http://www.w3.org/2000/svg"
"""The name of the vocabulary; nothing is fetched from it."""

WIDTH: Final = 560
HEIGHT: Final = 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 14, 34, 46
_COLOURS: Final = 7
_CELL: Final = 22


@dataclass(frozen=True, slots=True)
class Series:
    """One line of a chart.

    Attributes:
        name: For the legend.
        points: x and y; a break is a point that is not finite.
        dashed: For references that were not measured round by round.
        dots: Whether each point gets a dot with its value as a tip.
    """

    name: Words
    points: tuple[tuple[float, float], ...]
    dashed: bool = False
    dots: bool = True


@dataclass(frozen=True, slots=True)
class Cell:
    """One mark of a grid.

    Attributes:
        mark: ``yes``, ``no`` or ``none``: shape and colour.
        tip: What the mark says in words.
    """

    mark: str
    tip: Words


@dataclass(frozen=True, slots=True)
class _Axis:
    """A linear scale from values to pixels, with its ticks."""

    low: float
    high: float
    start: float
    end: float
    ticks: tuple[float, ...]

    def at(self, value: float) -> float:
        """Return the pixel of a value; outside values stay at the edge."""
        share = (min(max(value, self.low), self.high) - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)


def ticks(low: float, high: float, wanted: int = 5) -> tuple[float, ...]:
    """Return round numbers that cover ``low`` to ``high``, at most about ``wanted`` + 2."""
    if not (math.isfinite(low) and math.isfinite(high)) or high <= low:
        return (0.0, 1.0)
    raw = (high - low) / max(wanted, 1)
    power = 10.0 ** math.floor(math.log10(raw))
    step = next((m * power for m in (1.0, 2.0, 5.0) if m * power >= raw), 10.0 * power)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return tuple(round(i * step, 12) for i in range(first, last + 1))


def number(value: float) -> str:
    """Return a value for a label: short, never in exponents for everyday sizes."""
    if not math.isfinite(value):
        return "–"
    return f"{value:.6g}" if abs(value) >= 1e-4 or value == 0 else f"{value:.1e}"


def line_chart(
    title: Words,
    series: Sequence[Series],
    *,
    x: Words,
    y: Words,
    x_range: tuple[float, float] | None = None,
    y_range: tuple[float, float] | None = None,
    whole_x: bool = False,
) -> str:
    """Draw lines over common axes.

    Args:
        title: What the drawing shows.
        series: The lines; empty ones appear in the legend only.
        x: Label of the horizontal axis.
        y: Label of the vertical axis.
        x_range: Fixed range; by default that of the points.
        y_range: Fixed range; by default that of the points.
        whole_x: Whether x counts something, so that ticks are whole numbers.
    """
    points = [p for s in series for p in s.points if math.isfinite(p[0]) and math.isfinite(p[1])]
    across = _axis([p[0] for p in points], x_range, _LEFT, WIDTH - _RIGHT, whole=whole_x)
    up = _axis([p[1] for p in points], y_range, HEIGHT - _BOTTOM, _TOP)
    body = [*_frame(across, up, x, y)]
    for index, item in enumerate(series):
        body += _line(item, index, across, up)
    body += _legend([s.name for s in series])
    return drawing(title, f"{x.both}; {y.both}", body)


def stacked_bars(
    title: Words,
    names: Sequence[str],
    parts: Sequence[tuple[Words, Sequence[float]]],
    *,
    x: Words,
    y: Words,
) -> str:
    """Draw one bar per name, made of parts on top of each other."""
    totals = [sum(_positive(v[i]) for _, v in parts) for i in range(len(names))]
    up = _axis([0.0, *totals], None, HEIGHT - _BOTTOM, _TOP)
    across = _Axis(0.0, max(len(names), 1), _LEFT, WIDTH - _RIGHT, ())
    body = _frame(across, up, x, y)
    width = (across.end - across.start) / max(len(names), 1)
    for column, name in enumerate(names):
        left = across.at(column) + width * 0.12
        base = 0.0
        for index, (part, values) in enumerate(parts):
            value = _positive(values[column])
            top, bottom = up.at(base + value), up.at(base)
            base += value
            tip = escape(f"{name}: {part.both} {number(round(value, 3))}")
            body.append(
                f'<rect class="f{index % _COLOURS}" x="{left:.1f}" y="{top:.1f}" '
                f'width="{width * 0.76:.1f}" height="{max(bottom - top, 0.0):.1f}">'
                f"<title>{tip}</title></rect>"
            )
        if column % max(1, len(names) // 16) == 0:
            body.append(_text(left + width * 0.38, HEIGHT - _BOTTOM + 15, name, "middle"))
    body += _legend([part for part, _ in parts], "f")
    return drawing(title, f"{x.both}; {y.both}", body)


def mark_grid(
    title: Words,
    rows: Sequence[str],
    columns: Sequence[str],
    cells: Mapping[tuple[str, str], Cell],
) -> str:
    """Draw a mark for each row and column: a disc for yes, a cross for no."""
    left = 24 + 7 * min(max((len(row) for row in rows), default=0), 30)
    width = max(left + _CELL * len(columns) + 10, 160)
    height = 40 + _CELL * len(rows)
    body = []
    for across, column in enumerate(columns):
        if across % max(1, len(columns) // 40) == 0:
            body.append(_text(left + _CELL * (across + 0.5), 28, column, "middle"))
    for down, row in enumerate(rows):
        y = 36 + _CELL * (down + 0.5)
        shown = row if len(row) <= 30 else f"{row[:29]}…"
        body.append(_text(left - 8, y + 4, shown, "end"))
        for across, column in enumerate(columns):
            cell = cells.get((row, column))
            if cell is not None:
                tip = escape(f"{row}, {column}: {cell.tip.both}")
                body.append(_mark(cell.mark, left + _CELL * (across + 0.5), y, tip))
    return drawing(title, f"{len(rows)} × {len(columns)}", body, size=(width, height))


# ------------------------------------------------------------------------------- pieces


def _axis(
    values: Iterable[float],
    fixed: tuple[float, float] | None,
    start: float,
    end: float,
    *,
    whole: bool = False,
) -> _Axis:
    """Return a scale that shows all values with round ticks."""
    found = [v for v in values if math.isfinite(v)]
    low, high = fixed or ((min(found), max(found)) if found else (0.0, 1.0))
    if high <= low:
        margin = abs(low) * 0.05 or 0.5
        low, high = low - margin, high + margin
    marks = ticks(low, high)
    if whole:
        marks = tuple(t for t in marks if t == int(t))
    if fixed is None and not whole:
        low, high = marks[0], marks[-1]
    return _Axis(low, high, start, end, tuple(t for t in marks if low <= t <= high))


def _frame(across: _Axis, up: _Axis, x: Words, y: Words) -> list[str]:
    """Return axes, grid lines, tick labels and axis titles."""
    lines = []
    for tick in up.ticks:
        at = up.at(tick)
        lines.append(
            f'<line class="grid" x1="{across.start:.1f}" x2="{across.end:.1f}" '
            f'y1="{at:.1f}" y2="{at:.1f}"/>'
        )
        lines.append(_text(across.start - 7, at + 4, number(tick), "end"))
    below = up.start + 15
    lines += [_text(across.at(tick), below, number(tick), "middle") for tick in across.ticks]
    lines.append(
        f'<path class="axis" d="M{across.start:.1f} {up.end:.1f}V{up.start:.1f}H{across.end:.1f}"/>'
    )
    middle = (up.start + up.end) / 2
    lines.append(
        f'<text class="label" text-anchor="middle" x="{(across.start + across.end) / 2:.1f}" '
        f'y="{HEIGHT - 8}">{spans(x, "tspan")}</text>'
    )
    lines.append(
        f'<text class="label" text-anchor="middle" transform="translate(14 {middle:.1f}) '
        f'rotate(-90)">{spans(y, "tspan")}</text>'
    )
    return lines


def _line(item: Series, index: int, across: _Axis, up: _Axis) -> list[str]:
    """Return a line, broken where points are missing, and its dots."""
    pieces: list[str] = []
    dots: list[str] = []
    command = "M"
    for x, y in item.points:
        if not (math.isfinite(x) and math.isfinite(y)):
            command = "M"
            continue
        at = (across.at(x), up.at(y))
        pieces.append(f"{command}{at[0]:.1f} {at[1]:.1f}")
        command = "L"
        if item.dots:
            tip = escape(f"{item.name.both}: {number(x)}, {number(round(y, 6))}")
            dots.append(
                f'<circle class="f{index % _COLOURS}" cx="{at[0]:.1f}" cy="{at[1]:.1f}" r="2.6">'
                f"<title>{tip}</title></circle>"
            )
    if not pieces:
        return []
    style = f"line s{index % _COLOURS}" + (" dashed" if item.dashed else "")
    return [f'<path class="{style}" d="{"".join(pieces)}"/>', *dots]


def _legend(names: Sequence[Words], prefix: str = "f") -> list[str]:
    """Return coloured squares with names above the drawing, from left to right."""
    parts = []
    at = float(_LEFT)
    for index, name in enumerate(names):
        parts.append(
            f'<rect class="{prefix}{index % _COLOURS}" x="{at:.1f}" y="9" width="10" height="10"/>'
        )
        parts.append(f'<text x="{at + 14:.1f}" y="18">{spans(name, "tspan")}</text>')
        at += 24 + max(6.2 * len(name.en), 12.0 * len(name.zh))
    return parts


def _mark(mark: str, x: float, y: float, tip: str) -> str:
    """Return a disc, a cross or a short line, each with its words."""
    if mark == "yes":
        shape = f'<circle cx="{x:.1f}" cy="{y:.1f}" r="6"/>'
    elif mark == "no":
        shape = (
            f'<path d="M{x - 5:.1f} {y - 5:.1f}L{x + 5:.1f} {y + 5:.1f}'
            f'M{x - 5:.1f} {y + 5:.1f}L{x + 5:.1f} {y - 5:.1f}"/>'
        )
    else:
        shape = f'<path d="M{x - 4:.1f} {y:.1f}H{x + 4:.1f}"/>'
    kind = mark if mark in {"yes", "no"} else "none"
    return f'<g class="mark-{kind}"><title>{tip}</title>{shape}</g>'


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def drawing(
    title: Words,
    description: str,
    body: Sequence[str],
    *,
    size: tuple[float, float] = (WIDTH, HEIGHT),
) -> str:
    """Wrap the pieces; the width follows the page, the shape is kept."""
    width, height = size
    return (
        f'<svg xmlns="{NAMESPACE}" role="img" viewBox="0 0 {width:.0f} {height:.0f}" '
        f'width="{width:.0f}" height="{height:.0f}">'
        f"<title>{escape(title.both)}</title><desc>{escape(description)}</desc>"
        f"{''.join(body)}</svg>"
    )


def _positive(value: float) -> float:
    return value if math.isfinite(value) and value > 0 else 0.0
