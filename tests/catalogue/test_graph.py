"""What hangs on what, what joins; the drawing is well-formed whatever the names are."""

from __future__ import annotations

import json
import re
from itertools import pairwise
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fusion.catalogue.descriptor import LEVELS, Entity
from fusion.catalogue.graph import DatasetNode, EntityGraph, Node, graph_of
from fusion.reports.catalogue import catalogue_page
from fusion.reports.entities import ACTION_WORDS, ENTITY_WORDS, LEVEL_WORDS, entity_graph
from fusion.reports.page import standalone
from tests.catalogue.descriptors import keyed
from tests.reports.drawings import parse

SVG = "{http://www.w3.org/2000/svg}"
ENTERPRISE, PERSON = ("enterprise", "gb32100"), ("person", "gb11643")
FIRMS = keyed("tax/firms", {"uscc": ENTERPRISE, "boss": PERSON})
LOANS = keyed("bank/loans", {"code": ENTERPRISE})
VISITS = keyed("health/visits", {"id": PERSON, "house": ("household", "household-number")})
HOUSES = keyed("city/houses", {"house": ("household", "city-register")})
GRAPH = graph_of(
    [FIRMS, LOANS, VISITS, HOUSES], [("tax", "firms", "bank", ("train",)), ("x", "y", "z", ())]
)
HOSTILE = "</text><script>alert(1)</script>\x00\" onload='x' &amp; \ud800 ]]>"


def test_what_identifies_the_same_by_the_same_scheme_joins() -> None:
    assert {(join.node.entity, join.left, join.right) for join in GRAPH.joins()} == {
        ("enterprise", ("bank/loans", "code"), ("tax/firms", "uscc")),
        ("person", ("health/visits", "id"), ("tax/firms", "boss")),
    }


def test_two_schemes_of_one_entity_do_not_join() -> None:
    households = [node for node in GRAPH.entities if node.entity == "household"]
    assert [node.scheme for node in households] == ["city-register", "household-number"]
    assert not [join for join in GRAPH.joins() if join.node.entity == "household"]


def test_two_columns_of_one_dataset_do_not_join_with_each_other() -> None:
    pairs = keyed("a/b", {"one": PERSON, "other": PERSON})
    assert graph_of([pairs]).joins() == []


def test_what_was_withdrawn_is_not_in_it() -> None:
    gone = LOANS.model_copy(update={"withdrawn": True})
    assert [each.name for each in graph_of([FIRMS, gone]).datasets] == ["tax/firms"]


def test_the_json_says_all_of_it() -> None:
    said = GRAPH.to_json()
    assert json.loads(json.dumps(said)) == said
    assert len(said["edges"]) == 6
    assert len(said["joins"]) == 2
    firms = next(each for each in said["datasets"] if each["owner"] == "tax")
    assert firms["granted"] == [{"to": "bank", "actions": ["train"]}]


def test_every_word_is_in_both_languages() -> None:
    assert set(ENTITY_WORDS) == set(get_args(Entity))
    assert set(LEVEL_WORDS) == set(LEVELS)
    assert set(ACTION_WORDS) == {"train", "align", "query", "score", "mock"}
    for words in (*ENTITY_WORDS.values(), *LEVEL_WORDS.values(), *ACTION_WORDS.values()):
        assert words.en != words.zh


def test_the_drawing_shows_every_dataset_owner_entity_and_line() -> None:
    drawing = entity_graph(GRAPH)
    root = parse(drawing)
    text = " ".join("".join(each.itertext()) for each in root.iter(f"{SVG}text"))
    for word in ("tax", "firms", "loans", "visits", "Enterprise", "企业", "household-number"):
        assert word in text or word == "household-number"
    kinds = [each.attrib.get("class", "") for each in root.iter(f"{SVG}path")]
    hangs = [kind for kind in kinds if kind.startswith("hang") and "alone" not in kind]
    assert len(hangs) == 4 + 1  # one of them in the legend
    assert sum("alone" in kind for kind in kinds) == 2 + 1
    assert kinds.count("grant") == 1 + 1
    assert root.attrib["role"] == "img"


def test_nothing_is_drawn_outside_or_upon_another() -> None:
    many = [
        keyed(f"owner-{n % 7}/set-{n}", {"a": PERSON, "b": ENTERPRISE, "c": ("place", "gbt2260")})
        for n in range(40)
    ]
    root = parse(entity_graph(graph_of(many)))
    width, height = map(float, root.attrib["viewBox"].split()[2:])
    cards = [each for each in root.iter(f"{SVG}rect") if each.attrib["class"] == "card"]
    assert len(cards) == 40
    tops = sorted(float(c.attrib["y"]) for c in cards)
    assert all(b - a >= 68 for a, b in pairwise(tops))
    assert max(tops) + 68 < height
    rings = [each for each in root.iter(f"{SVG}circle") if each.attrib["class"].startswith("ring")]
    places = sorted(float(ring.attrib["cy"]) for ring in rings)
    assert all(b - a >= 60 for a, b in pairwise(places))
    assert all(float(ring.attrib["cx"]) < width for ring in rings)


@settings(max_examples=40)
@given(st.text(max_size=12), st.text(max_size=12), st.sampled_from(LEVELS))
def test_any_names_give_well_formed_xml(name: str, column: str, level: str) -> None:
    node = Node("matter", column or "x")
    dataset = DatasetNode(
        owner=name, id=column, zh=name, en=HOSTILE, level=level, rows="under 1000",  # type: ignore[arg-type]
        keys=((HOSTILE, node),), granted=((name, ("train",)),),
    )  # fmt: skip
    graph = EntityGraph((dataset,), (node,))
    root = parse(entity_graph(graph))
    tags = {each.tag.removeprefix(SVG) for each in root.iter()}
    assert tags <= {"svg", "title", "desc", "text", "tspan", "rect", "circle", "path", "g"}
    parse(standalone(entity_graph(graph)))
    assert "<script" not in catalogue_page(graph, HOSTILE, "2026-06-01")


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_page_needs_nothing_from_anywhere(language: str) -> None:
    page = catalogue_page(GRAPH, "hub", "2026-06-01", language)
    assert "://" not in page
    assert "<script" not in page
    assert not re.search(r"\b(src|href|url)\s*[=(]", page)
    assert "default-src 'none'" in page
    assert "prefers-color-scheme:dark" in page
    for words in (
        "What can be joined",
        "哪些数据可以关联",
        "tax/firms",
        "bank: train",
        "bank：训练",
    ):
        assert words in page


def test_an_empty_catalogue_has_a_page_too() -> None:
    page = catalogue_page(graph_of([]), "hub", "2026-06-01")
    assert "Nothing joins yet." in page
    parse(standalone(entity_graph(graph_of([]))))
