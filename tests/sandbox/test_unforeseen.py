"""What nobody foresaw has one text, a bounded line in the owner's log, and ends nothing else."""

from __future__ import annotations

import logging

import pytest

from fusion.errors import QueryFailed
from sandbox.refusals import refusal
from sandbox.trying import attempt
from sandbox.unforeseen import MAX_LINE, one_text
from tests.sandbox.asking import example

LOG = logging.getLogger("banyan.tests.unforeseen")
NULLS = [
    "select count(*) from persons group by null",
    "select null, count(*) from persons group by 1",
    "select sex, null, count(*) from persons group by all",
    "select distinct null, sex from persons",
    "select nullif(null, 1) as x, count(*) from persons group by 1",
    "with a as (select person_id, null as z from persons) select z, count(*) from a group by z",
]
EMPTY = [
    "select count() from persons",
    "select sex, sum(count()) over () from persons group by sex",
    "with a as (select person_id, count() as n from visits group by 1) select count(*) from a",
    "with a as (select sex, count(*) as n from persons group by 1) select count() from a",
]


def test_each_statement_has_its_verdict_whatever_one_of_them_makes_happen() -> None:
    def execute(_request: bytes) -> bytes:
        raise KeyError("a cell of 17")

    text = "select count(*) from persons\nselect income from persons\nselect count(*) from visits"
    found = attempt(example(), text, execute, b"")
    assert found["counts"] == {"accepted": 0, "refused": 1, "error": 2}
    for verdict in (found["statements"][0], found["statements"][2]):
        assert (verdict["verdict"], verdict["code"]) == ("error", "F-010")
        assert verdict["message"] == str(QueryFailed())


@pytest.mark.parametrize("sql", NULLS)
def test_null_is_no_group(sql: str) -> None:
    (verdict,) = attempt(example(), sql, None, b"")["statements"]
    assert (verdict["verdict"], verdict["code"]) == ("refused", "Q-05")


@pytest.mark.parametrize("sql", EMPTY)
def test_an_argument_that_is_missing_is_said(sql: str) -> None:
    (verdict,) = attempt(example(), sql, None, b"")["statements"]
    assert (verdict["verdict"], verdict["code"]) == ("refused", "Q-03")


def test_the_owner_has_a_bounded_line_of_so_many(caplog: pytest.LogCaptureFixture) -> None:
    left = iter([True, True, False, False])
    for _ in range(4):
        with pytest.raises(QueryFailed) as failed, one_text(LOG, "org.asks", lambda _: next(left)):
            raise AttributeError("card " * 1000)
        assert "card" not in str(failed.value)
        assert failed.value.__suppress_context__
    assert len(caplog.messages) == 2
    for line in caplog.messages:
        assert "AttributeError" in line
        assert "test_unforeseen.py" in line
        assert len(line) < MAX_LINE + 120
        assert "\n" not in line
    assert not [record for record in caplog.records if record.exc_info]


def test_a_refusal_stays_one(caplog: pytest.LogCaptureFixture) -> None:
    refused = refusal("Q-06")
    with pytest.raises(type(refused)) as raised, one_text(LOG, "org.asks", lambda _: True):
        raise refused
    assert raised.value is refused
    assert not caplog.records
