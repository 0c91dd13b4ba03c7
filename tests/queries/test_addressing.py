"""Whose data a statement asks, said in the statement; and what for, said by the grants alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fusion.errors import InputInvalid
from fusion.services.addressing import (
    addresses,
    dataset_of,
    datasets_granted,
    only_dataset,
    purpose_of,
    with_tables,
)
from fusion.services.clock import SystemClock
from fusion.services.query_description import ColumnDescribed, Described, TableDescribed
from tests.queries.world import OWNER, PURPOSE

if TYPE_CHECKING:
    from tests.queries.world import Up


def _described(*names: str, public: tuple[str, ...] = ()) -> Described:
    key = ColumnDescribed.model_validate({"name": "id", "class": "key", "type": "integer"})
    tables = [TableDescribed(name=name, entity="id", columns=[key]) for name in names]
    tables += [TableDescribed(name=name, entity=None, columns=[key]) for name in public]
    return Described(policy="0" * 64, mode="sdc", k=10, base=5, functions=[], tables=tables)


def _written(sql: str, described: Described) -> str:
    return with_tables(sql, addresses(sql), lambda: described)


@pytest.mark.parametrize(
    ("sql", "sent"),
    [
        ("select a from tax/persons", "select a from persons"),
        ("select a FROM\n tax.city.example/persons p", "select a FROM\n persons p"),
        ("select 1/2 from tax/persons where x = 'from tax/y'",
         "select 1/2 from persons where x = 'from tax/y'"),
        ("select a from tax/any.persons", "select a from persons"),
        ("select a from tax/p.persons join tax/p.regions on true -- from a/b",
         "select a from persons join regions on true -- from a/b"),
        ("select a from persons", "select a from persons"),
        ("select extract(year from day) / 2 from tax/persons",
         "select extract(year from day) / 2 from persons"),
    ],
)  # fmt: skip
def test_a_statement_says_whose_data_it_asks(sql: str, sent: str) -> None:
    assert _written(sql, _described("persons", "visits")) == sent


def test_a_dataset_with_one_table_of_people_is_that_table() -> None:
    sql = "select a from tax/register"
    assert _written(sql, _described("people", public=("regions",))) == "select a from people"
    with pytest.raises(InputInvalid) as found:
        _written(sql, _described("people", "visits"))
    assert found.value.hint == "Write which: from tax/register.TABLE"
    assert "people, visits" in found.value.message


def test_a_question_is_about_one_dataset() -> None:
    found = addresses("select 1 from tax/a join tax/a on true")
    assert dataset_of(found) == dataset_of(found, "tax/a") == dataset_of([], "tax/a") == "tax/a"
    with pytest.raises(InputInvalid, match="names tax/a and tax/b") as tables:
        dataset_of(addresses("select 1 from tax/a join tax/b on true"))
    # Most often two tables of one dataset are meant.
    assert "OWNER/ID.TABLE" in tables.value.hint
    with pytest.raises(InputInvalid, match="names bank/b and tax/a") as owners:
        dataset_of(addresses("select 1 from tax/a join bank/b on true"))
    assert "each owner on its own" in owners.value.hint
    with pytest.raises(InputInvalid, match="names tax/a and tax/b"):
        dataset_of(found, "tax/b")
    with pytest.raises(InputInvalid, match="is not said"):
        dataset_of([])


def test_what_for_follows_from_grants_that_agree(up: Up) -> None:
    up.world.grant("agreeing")
    analyst, now = up.world.analyst, SystemClock().now()
    assert purpose_of(analyst, f"{OWNER}/agreeing", now) == PURPOSE
    with pytest.raises(InputInvalid, match="No grant"):
        purpose_of(analyst, f"{OWNER}/nothing", now)
    with pytest.raises(InputInvalid, match="No grant"):
        purpose_of(up.world.owner, f"{OWNER}/agreeing", now)
    # Of a dataset, too, where they are about one.
    assert f"{OWNER}/agreeing" in datasets_granted(analyst, now)
    if len(datasets_granted(analyst, now)) == 1:
        assert only_dataset(analyst, now) == f"{OWNER}/agreeing"
    up.world.grant("addressed")
    with pytest.raises(InputInvalid, match=f"are kept here for .*{OWNER}/addressed"):
        only_dataset(analyst, now)
    with pytest.raises(InputInvalid, match="No grant for queries is kept"):
        only_dataset(up.world.other, now)
    up.world.grant("agreeing", purpose="dpv:AcademicResearch")
    with pytest.raises(InputInvalid, match="are for dpv:"):
        purpose_of(analyst, f"{OWNER}/agreeing", now)
