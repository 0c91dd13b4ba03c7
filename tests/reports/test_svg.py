"""Drawings: well-formed, named for screen readers, and safe whatever the names are."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusion.reports.page import standalone
from fusion.reports.svg import Cell, Series, line_chart, mark_grid, number, stacked_bars, ticks
from fusion.reports.words import Words, same
from tests.reports.drawings import parse

SVG = "{http://www.w3.org/2000/svg}"
TITLE = Words("AUC", "AUC 曲线")
HOSTILE = "</text><script>alert(1)</script>\x00\x1b]0;\" onload='x' &amp; \ud800 ]]>"

values = st.floats(allow_nan=True, allow_infinity=True, width=32)
points = st.lists(st.tuples(values, values), max_size=12).map(tuple)


def lines(series: tuple[tuple[float, float], ...], name: str = "joint") -> str:
    return line_chart(TITLE, [Series(same(name), series)], x=same("round"), y=same("AUC"))


@given(points, st.text(max_size=20))
def test_any_points_and_names_give_well_formed_xml(
    series: tuple[tuple[float, float], ...], name: str
) -> None:
    root = parse(lines(series, name))
    for element in root.iter():
        for value in element.attrib.values():
            assert "nan" not in value
            assert "inf" not in value


@given(st.lists(values, min_size=1, max_size=20))
def test_bars_stay_inside_the_drawing(spent: list[float]) -> None:
    names = [str(i) for i in range(len(spent))]
    drawing = stacked_bars(TITLE, names, [(same("train"), spent)], x=same("r"), y=same("s"))
    for bar in parse(drawing).iter(f"{SVG}rect"):
        assert float(bar.attrib["height"]) >= 0
        assert 0 <= float(bar.attrib["y"]) <= 300


@pytest.mark.parametrize("drawing", [lines(((0, 0.5), (1, 0.9))), mark_grid(TITLE, [], [], {})])
def test_a_drawing_has_a_title_and_a_description(drawing: str) -> None:
    root = parse(drawing)
    assert root.attrib["role"] == "img"
    assert root.findtext(f"{SVG}title") == "AUC / AUC 曲线"
    assert root.findtext(f"{SVG}desc")


def test_hostile_names_stay_text() -> None:
    cells = {(HOSTILE, HOSTILE): Cell(HOSTILE, same(HOSTILE))}
    bars = stacked_bars(TITLE, [HOSTILE], [(same(HOSTILE), [1.0])], x=same("r"), y=same("s"))
    for drawing in (lines(((0, 1),), HOSTILE), mark_grid(TITLE, [HOSTILE], [HOSTILE], cells), bars):
        tags = {element.tag.removeprefix(SVG) for element in parse(drawing).iter()}
        assert tags <= {
            "svg",
            "title",
            "desc",
            "text",
            "tspan",
            "rect",
            "line",
            "path",
            "g",
            "circle",
        }
        assert "\x1b" not in drawing


def test_a_missing_point_breaks_the_line() -> None:
    drawing = lines(((0, 0.5), (1, math.nan), (2, 0.7), (3, 0.8)))
    path = next(e for e in parse(drawing).iter(f"{SVG}path") if "line" in e.attrib["class"])
    assert path.attrib["d"].count("M") == 2


def test_a_higher_value_is_drawn_higher() -> None:
    dots = list(parse(lines(((0, 0.5), (1, 0.9)))).iter(f"{SVG}circle"))
    assert float(dots[1].attrib["cy"]) < float(dots[0].attrib["cy"])
    assert float(dots[1].attrib["cx"]) > float(dots[0].attrib["cx"])


@given(st.floats(-1e9, 1e9), st.floats(1e-6, 1e9))
def test_ticks_cover_the_range_and_stay_few(low: float, length: float) -> None:
    high = low + length
    if high <= low:
        return
    marks = ticks(low, high)
    step = marks[1] - marks[0]
    assert marks[0] <= low + step * 1e-6
    assert marks[-1] >= high - step * 1e-6
    assert 2 <= len(marks) <= 9


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (0.25, "0.25"), (1500.0, "1500"), (2e-6, "2.0e-06"), (math.nan, "–")],
)
def test_numbers_are_short(value: float, text: str) -> None:
    assert number(value) == text


def test_a_drawing_on_its_own_is_xml_in_one_language() -> None:
    drawing = standalone(lines(((0, 0.5), (1, 0.9))), "zh")
    root = parse(drawing)
    style = root.findtext(f"{SVG}style") or ""
    assert "[lang=en]{display:none}" in style
    assert "url(" not in style
