"""The reference of the grant is what the code says: fields, bounds, defaults, codes, purposes."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, get_args

import pytest

from fusion.grants import document
from fusion.grants.reading import parse_grant
from fusion.grants.refusal import Code
from fusion.grants.signing import Standing
from fusion.wire import documents
from tests.docs.sources import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = (ROOT / "docs/grants.md").read_text("utf-8")

SECTIONS: dict[str, type[documents.Part]] = {
    "The document": document.Grant,
    "`dataset`": document.Dataset,
    "`permissions`": document.Permissions,
    "`permissions.train`": document.Train,
    "`permissions.align`": document.Align,
    "`permissions.query`": document.Query,
    "`permissions.score`": document.Score,
    "`permissions.mock`": document.Mock,
    "`fee`": document.Fee,
    "`duties`, `kind: delete`": document.Delete,
    "`duties`, `kind: pay`": document.Pay,
    "`duties`, `kind: attribute`": document.Attribute,
    "`signers`": document.Signer,
}


def _parts() -> dict[str, str]:
    """Return heading to body."""
    parts = [part.partition("\n") for part in PAGE.split("\n## ")[1:]]
    return {heading: body for heading, _, body in parts}


def _rows(heading: str) -> dict[str, list[str]]:
    """Return key to the cells of its row."""
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


def test_every_part_of_the_document_has_a_section() -> None:
    known = {part for part in vars(document).values() if isinstance(part, type)}
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
    assert meaning or key == "kind"
    written = {int(n) for n in re.findall(r"\d+", bounds.replace("2⁵³ − 1", str(2**53 - 1)))}
    for rule in _rules(field):
        for bound in ("gt", "ge", "lt", "le", "min_length", "max_length"):
            value = getattr(rule, bound, None)
            if isinstance(value, int) and (bound, value) != ("max_length", 63):
                assert value in written or (bound, value) == ("min_length", 1), f"{bound}={value}"


def _rules(field: Any) -> Iterator[Any]:
    """Yield the rules of a field and of what is optional in it."""
    yield from field.metadata
    for inner in get_args(field.annotation):
        for meta in getattr(inner, "__metadata__", ()):
            yield meta
            yield from getattr(meta, "metadata", ())


def test_the_words_of_a_choice_are_those_of_the_code() -> None:
    for heading, key, field in _fields():
        bounds = _rows(heading)[key][2]
        for word in _choices(field.annotation):
            assert f"`{word}`" in bounds or key == "purpose", (key, word)


def _choices(annotation: Any) -> Iterator[str]:
    for inner in get_args(annotation):
        if isinstance(inner, str):
            yield inner
        elif not (isinstance(inner, type) and issubclass(inner, documents.Part)):
            yield from _choices(inner)


def test_the_purposes_are_those_of_the_code() -> None:
    listed = re.findall(r"dpv:\w+", _parts()["Purposes"])
    assert sorted(listed) == sorted(get_args(document.Purpose))


def test_the_states_are_those_of_the_code() -> None:
    rows = re.findall(r"^\| ([A-Z]+) \|", _parts()["Where a grant stands"], re.MULTILINE)
    assert rows == [state.value for state in Standing]


def test_the_codes_are_those_of_the_code() -> None:
    rows = re.findall(r"^\| (G-\d\d) \|", _parts()["Refusals"], re.MULTILINE)
    assert rows == [code.value for code in Code]


def test_the_example_is_a_grant() -> None:
    examples = re.findall(r"^```yaml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    assert len(examples) == 1
    assert parse_grant(examples[0], "docs/grants.md").required == {
        "tax.example",
        "bank.example",
        "hub",
    }
