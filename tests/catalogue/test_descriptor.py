"""A descriptor says what is declared and no more; every rule between its fields is held."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from fusion.catalogue.declaration import draft, parse_declaration
from fusion.catalogue.descriptor import (
    LEVELS,
    MAX_DESCRIPTOR_BYTES,
    ROWS,
    Descriptor,
    descriptor_of,
    rows_bucket,
    schema_digest,
)
from fusion.errors import CatalogueInvalid, MessageInvalid
from fusion.wire import canonical
from tests.catalogue.descriptors import DECLARATION, SCHEMA, descriptor
from tests.grants.fields import values_of

FOUND = descriptor()
DOCUMENT = FOUND.document()


def test_its_bytes_come_back_as_the_same() -> None:
    assert descriptor_of(FOUND.canonical()) == FOUND
    assert len(FOUND.digest) == 64
    assert FOUND.name == "tax/firms"


def test_its_schema_digest_is_that_of_grants() -> None:
    assert FOUND.schema_digest == schema_digest(SCHEMA)


def test_a_columns_level_is_the_datasets_unless_declared() -> None:
    levels = {column.name: column.level for column in FOUND.columns}
    assert levels["region"] == "general-1"
    assert levels["turnover"] == "general-3"


@pytest.mark.parametrize(
    ("rows", "bucket"),
    [(0, 0), (999, 0), (1000, 1), (9999, 1), (10_000, 2), (9_999_999, 4), (10**7, 5), (10**12, 5)],
)
def test_only_the_order_of_magnitude_of_the_rows_is_told(rows: int, bucket: int) -> None:
    assert rows_bucket(rows) == ROWS[bucket]
    assert descriptor(rows=rows).rows == ROWS[bucket]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"/level": "general-2", "/columns/turnover/level": "general-3"}, "above the dataset's"),
        ({"/level": "core"}, "list no action"),
        ({"/level": "important"}, "leave `mock` out"),
        ({"/actions": ["train", "train"]}, "listed twice"),
        ({"/columns/region/scheme": "gb11643"}, "identified by gbt2260"),
        ({"/columns/uscc/entity": "matter", "/columns/uscc/scheme": "gb32100"}, "no matter"),
        ({"/columns/turnover": {"entity": "enterprise"}}, "a number loses zeros"),
        ({"/columns/turnover": {"scheme": "gb32100"}}, "identifies nothing"),
        (
            {"/columns/uscc/domain": {"kind": "categories", "values": ["a"]}},
            "nobody may list them",
        ),
        ({"/columns/turnover/domain/min": 100}, "ends before it begins"),
        ({"/columns/turnover/domain/bins": 101}, "fewer values than bins"),
        ({"/columns/founded/domain/last": "1999-01-01"}, "ends before it begins"),
        ({"/columns/kind/domain/values": ["a", "a"]}, "A category is listed twice"),
        ({"/columns/turnover/domain": {"kind": "categories", "values": ["a"]}}, "are numbers"),
        (
            {"/columns/kind/domain": {"kind": "range", "min": 0, "max": 99}},
            "has no range of numbers",
        ),
        (
            {"/columns/founded/domain": {"kind": "categories", "values": ["a"]}},
            "has no categories",
        ),
        (
            {
                "/columns/turnover/domain": {
                    "kind": "dates",
                    "first": "2000-01-01",
                    "last": "2001-01-01",
                }
            },
            "has no days",
        ),
        ({"/columns/shape": {}}, "has no column 'shape'"),
    ],
)
def test_a_broken_rule_is_named(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(CatalogueInvalid, match=says):
        descriptor(changes)


def test_a_place_in_a_message_has_the_columns_name() -> None:
    with pytest.raises(CatalogueInvalid, match=r"^columns\.turnover\.domain: "):
        descriptor({"/columns/turnover/domain/bins": 500})


def test_a_near_miss_is_asked_after() -> None:
    with pytest.raises(CatalogueInvalid) as caught:
        descriptor({"/columns/turnovr": {}})
    assert caught.value.hint == "Did you mean 'turnover'?"


def test_a_long_list_of_categories_is_refused() -> None:
    long = [f"{'x' * 150}{n}" for n in range(900)]
    columns = {
        name: {"domain": {"kind": "categories", "values": long}} for name in ("uscc", "kind")
    }
    with pytest.raises(CatalogueInvalid, match=str(MAX_DESCRIPTOR_BYTES)):
        descriptor({"/columns": columns})


def test_general_data_have_four_levels_below_important_and_core() -> None:
    assert (*(f"general-{n}" for n in range(1, 5)), "important", "core") == LEVELS


# ------------------------------------------------------------------------------ documents


@pytest.mark.parametrize("pointer", [pointer for pointer, _ in values_of(DOCUMENT)])
def test_a_value_of_another_type_is_refused(pointer: str) -> None:
    changed = copy.deepcopy(DOCUMENT)
    here: Any = changed
    *way, last = pointer.strip("/").split("/")
    for part in way:
        here = here[int(part)] if isinstance(here, list) else here[part]
    here[int(last) if isinstance(here, list) else last] = {"no": ["such", "thing"]}
    with pytest.raises(MessageInvalid):
        descriptor_of(canonical.encode(changed))


@pytest.mark.parametrize(
    "changes",
    [
        {"more": 1},
        {"schema": "fusion.dataset/2"},
        {"schema_digest": "0" * 64},
        {"rows": "1523"},
        {"revision": 0},
        {"owner": "hub of all"},
        {"id": "../firms"},
        {"issued": "2026-02-30T00:00:00Z"},
        {"actions": ["copy"]},
        {"level": "secret"},
        {"columns": []},
    ],
)
def test_a_document_that_is_not_as_it_has_to_be_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(MessageInvalid):
        descriptor_of(canonical.encode({**DOCUMENT, **changes}))


def test_defaults_are_stated_and_the_form_is_canonical() -> None:
    short = {key: value for key, value in DOCUMENT.items() if key != "withdrawn"}
    with pytest.raises(MessageInvalid, match="defaults"):
        descriptor_of(canonical.encode(short))
    with pytest.raises(MessageInvalid, match="canonical"):
        descriptor_of(FOUND.canonical() + b"\n")
    with pytest.raises(MessageInvalid, match="bytes"):
        descriptor_of(b" " * (MAX_DESCRIPTOR_BYTES + 1))


def test_no_error_quotes_what_was_read() -> None:
    with pytest.raises(MessageInvalid) as caught:
        descriptor_of(canonical.encode({**DOCUMENT, "title": "marker-of-mine"}))
    assert "marker-of-mine" not in str(caught.value)


# ----------------------------------------------------------------------------- as written


def test_a_draft_is_a_declaration() -> None:
    text = draft("firms", SCHEMA)
    found = parse_declaration(text, "draft.yaml")
    assert list(found.columns) == list(SCHEMA)
    assert (found.level, found.actions) == ("general-4", ())


def test_a_mistake_is_named_with_its_line() -> None:
    text = draft("firms", SCHEMA).replace('"rate": {}', '"rate": {untt: CNY}')
    with pytest.raises(CatalogueInvalid, match=r"draft\.yaml:\d+: `untt` is not known") as caught:
        parse_declaration(text, "draft.yaml")
    assert caught.value.hint == "Did you mean `unit`?"


def test_a_declaration_says_what_the_documentation_says() -> None:
    assert Descriptor.model_fields.keys() == {
        "schema_", "id", "owner", "revision", "issued", "withdrawn", "title", "description",
        "level", "update_period", "actions", "rows", "columns", "schema_digest", "mock",
    }  # fmt: skip
    assert set(DECLARATION) == {
        "schema", "title", "description", "level", "update_period", "actions", "mock", "columns",
    }  # fmt: skip
