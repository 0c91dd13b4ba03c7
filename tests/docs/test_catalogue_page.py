"""The reference of the catalogue is what the code says: fields, bounds, defaults, an example."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, get_args

import pytest

from fusion.catalogue import descriptor
from fusion.catalogue.declaration import parse_declaration
from fusion.catalogue.descriptor import STANDARD_SCHEMES, Entity
from fusion.wire import documents
from tests.catalogue import test_dcat, test_odrl_shapes
from tests.docs.sources import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = (ROOT / "docs/catalogue.md").read_text("utf-8")
SECTIONS: dict[str, type[documents.Part]] = {
    "The descriptor": descriptor.Descriptor,
    "`title`": descriptor.Label,
    "`columns`": descriptor.Column,
    "`columns.key`": descriptor.Key,
    "`columns.domain`, `kind: range`": descriptor.Range,
    "`columns.domain`, `kind: categories`": descriptor.Categories,
    "`columns.domain`, `kind: dates`": descriptor.Dates,
    "`mock`": descriptor.MockBudget,
}


def _parts() -> dict[str, str]:
    parts = [part.partition("\n") for part in PAGE.split("\n## ")[1:]]
    return {heading: body for heading, _, body in parts}


def _rows(heading: str) -> dict[str, list[str]]:
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in _parts()[heading].splitlines()
        if line.startswith("| `")
    ]
    return {row[0].strip("`"): row for row in rows}


def _fields() -> Iterator[tuple[str, str, Any]]:
    for heading, part in SECTIONS.items():
        for name, field in part.model_fields.items():
            yield heading, field.alias or name, field


def test_every_part_of_the_descriptor_has_a_section() -> None:
    known = {part for part in vars(descriptor).values() if isinstance(part, type)}
    parts = {part for part in known if issubclass(part, documents.Part)} - {
        documents.Part,
        documents.Document,
    }
    assert parts == set(SECTIONS.values())
    assert [heading for heading in _parts() if heading in SECTIONS] == list(SECTIONS)


@pytest.mark.parametrize("heading", SECTIONS)
def test_a_section_has_the_keys_of_the_code_in_order(heading: str) -> None:
    assert list(_rows(heading)) == [key for at, key, _ in _fields() if at == heading]


@pytest.mark.parametrize(("heading", "key", "field"), list(_fields()))
def test_a_key_has_the_default_and_the_bounds_of_the_code(
    heading: str, key: str, field: Any
) -> None:
    _, _, bounds, default, meaning = _rows(heading)[key]
    assert default == ("required" if field.is_required() else str(field.default))
    assert meaning
    written = {int(n.replace("−", "-")) for n in re.findall(r"[-−]?\d+", bounds)}
    for rule in _rules(field):
        for bound in ("ge", "le", "min_length", "max_length"):
            value = getattr(rule, bound, None)
            if isinstance(value, int):
                assert value in written or (bound, value) == ("min_length", 1), f"{bound}={value}"


def _rules(field: Any) -> Iterator[Any]:
    yield from field.metadata
    for inner in get_args(field.annotation):
        for meta in getattr(inner, "__metadata__", ()):
            yield meta
            yield from getattr(meta, "metadata", ())


def test_the_words_of_a_choice_are_those_of_the_code() -> None:
    for heading, key, field in _fields():
        bounds = _rows(heading)[key][2]
        for word in _choices(field.annotation):
            assert f"`{word}`" in bounds, (key, word)


def _choices(annotation: Any) -> Iterator[str]:
    for inner in get_args(annotation):
        if isinstance(inner, str):
            yield inner
        elif not (isinstance(inner, type) and issubclass(inner, documents.Part)):
            yield from _choices(inner)


def test_the_entities_and_their_standards_are_those_of_the_code() -> None:
    rows = re.findall(r"^\| (\w+)[^|]* \| `([\w-]+)`", _parts()["The entity graph"], re.MULTILINE)
    assert {entity for entity, _ in rows} == set(get_args(Entity))
    assert {e: s for e, s in rows if e in STANDARD_SCHEMES} == STANDARD_SCHEMES


def test_the_size_of_a_descriptor_is_the_one_of_the_code() -> None:
    assert f"at most {descriptor.MAX_DESCRIPTOR_BYTES} bytes" in PAGE


def test_the_mutants_are_as_many_as_the_page_says() -> None:
    counts = list(map(int, re.findall(r"with (\d+) mutants", PAGE)))
    assert counts == [len(test_dcat.MUTANTS), len(test_odrl_shapes.MUTANTS)]


def test_the_example_is_a_declaration() -> None:
    (example,) = re.findall(r"^```yaml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    found = parse_declaration(example, "docs/catalogue.md")
    assert found.columns["uscc"].entity == "enterprise"
