"""What a job declares, and what an owner's verdict is good for: closed documents, total checks."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from fusion.crypto.signing import SigningKey
from fusion.errors import FusionError, InputInvalid, MessageInvalid, PythonRefused
from fusion.grants.approval import (
    MAX_VERDICT_BYTES,
    Verdict,
    check_about,
    check_allows,
    open_verdict,
    sign_verdict,
)
from fusion.grants.python_job import (
    MAX_SCRIPT_BYTES,
    Column,
    Measure,
    PythonJob,
    Returns,
    check_returns,
    check_script,
    header_of,
    job_of,
    keyed_by,
    parse_returns,
    script_digest,
)
from fusion.types import OrgId

KEY, STRANGER = SigningKey.generate(), SigningKey.generate()
NOW = datetime(2026, 6, 1, tzinfo=UTC)
YAML = """\
form: people
reads: {persons: [region, income]}
columns: [{name: region, kind: category, of: persons.region}]
measures:
  - {name: n, statistic: people}
  - {name: income, statistic: mean, low: 0, high: 200000}
max_rows: 10
"""
RETURNS = parse_returns(YAML, "returns.yaml")
HEADER = """\
#!/usr/bin/env python
# /// banyan
# form = "people"
# max_rows = 10
# [reads]
# persons = ["region", "income"]
#
# [[columns]]
# name = "region"
# kind = "category"
# of = "persons.region"
# [[measures]]
# name = "n"
# statistic = "people"
# [[measures]]
# name = "income"
# statistic = "mean"
# low = 0
# high = 200000
# ///
import banyan
"""
JOB = PythonJob(
    owner=OrgId("tax"), assignee=OrgId("bank"), dataset="persons", revision=1, policy="a" * 64,
    schema_digest="b" * 64, purpose="dpv:PublicBenefit", script=script_digest(HEADER),
    returns=RETURNS,
)  # fmt: skip


def verdict(**changes: Any) -> Verdict:  # noqa: ANN401 - any field
    good: dict[str, Any] = {
        "verdict": "approved", "owner": "tax", "assignee": "bank", "dataset": "persons",
        "job": JOB.digest, "script": JOB.script, "returns": JOB.returns.digest,
        "policy": JOB.policy, "revision": 1, "release": "automatic", "runs": 2,
        "not_after": "2026-07-01T00:00:00Z", "at": "2026-06-01T00:00:00Z", "id": "d" * 32,
    }  # fmt: skip
    return Verdict.model_validate_json(
        Verdict.model_construct(**{**good, **changes}).model_dump_json(by_alias=True)
    )


def test_a_header_and_a_file_are_the_same_declaration() -> None:
    assert header_of(HEADER, "job.py") == RETURNS
    assert keyed_by(RETURNS) == "persons"
    assert job_of(JOB.canonical()) == JOB
    assert job_of(JOB.canonical()).digest == JOB.digest


@pytest.mark.parametrize(
    "changes",
    [
        {"owner": "hub-of-tax"},
        {"assignee": "press"},
        {"dataset": "visits"},
        {"revision": 2},
        {"policy": "c" * 64},
        {"schema_digest": "c" * 64},
        {"purpose": "dpv:CreditChecking"},
        {"script": "c" * 64},
        {"returns": RETURNS.model_copy(update={"max_rows": 11})},
    ],
)
def test_whatever_is_changed_it_is_another_job(changes: dict[str, Any]) -> None:
    other = JOB.model_copy(update=changes)
    assert other.digest != JOB.digest
    with pytest.raises(FusionError):
        check_about(verdict(), other)


@pytest.mark.parametrize(
    "changed",
    [
        ("form: people", "form: rows"),
        ("reads: {persons: [region, income]}", "reads: {}"),
        ("of: persons.region", "of: persons.age"),
        ("of: persons.region", "of: region"),
        ("of: persons.region", "categories: []"),
        ("kind: category", "kind: number"),
        ("kind: category, of: persons.region", "kind: integer"),
        ("name: n,", "name: region,"),
        ("name: n,", "name: person,"),
        ("statistic: people", "statistic: people, low: 1"),
        ("statistic: mean", "statistic: max"),
        ("low: 0,", "low: 200000,"),
        ("low: 0, ", ""),
        ("high: 200000", "high: 1000000, decimals: 6"),
        ("max_rows: 10", "max_rows: 1001"),
        ("max_rows: 10", "more: 10"),
        ("form: people", "form: table"),
    ],
)
def test_a_declaration_is_closed(changed: tuple[str, str]) -> None:
    with pytest.raises(InputInvalid):
        parse_returns(YAML.replace(*changed), "returns.yaml")


def test_rules_between_fields_hold_for_what_was_sent() -> None:
    assert check_returns(RETURNS) == RETURNS
    with pytest.raises(MessageInvalid, match="max_rows"):
        check_returns(RETURNS.model_copy(update={"max_rows": 5000}))
    mixed = YAML.replace("of: persons.region}", "of: persons.region}, {name: b, kind: boolean}")
    with pytest.raises(InputInvalid, match="all keys"):
        parse_returns(mixed, "returns.yaml")


@pytest.mark.parametrize(
    "script",
    [
        "import banyan\n",
        HEADER + HEADER,
        HEADER.replace("max_rows = 10", "max_rows = "),
        HEADER.replace("max_rows = 10", "max_rows = 2026-01-01"),
        HEADER.replace("max_rows = 10", "max_rows = 1001"),
        HEADER.replace("max_rows = 10", "rows = 10"),
    ],
)
def test_a_header_that_is_none_is_said_to_be(script: str) -> None:
    with pytest.raises(InputInvalid):
        header_of(script, "job.py")


@pytest.mark.parametrize(
    "data",
    [b"", b"\xff", b"a\x00", b"a\r\n", b"\x1b[2K", "x = '\u202e'".encode(), "\ufeff1".encode(),
     "a\u200bb".encode(), "a\u2028b".encode(), b"x" * (MAX_SCRIPT_BYTES + 1),
     "\u3164 = 1".encode(), "a\ufe00 = 1".encode(), "# a\U000e0041".encode()],
)  # fmt: skip
def test_a_script_is_what_its_reviewer_sees(data: bytes) -> None:
    with pytest.raises(InputInvalid):
        check_script(data)


@pytest.mark.parametrize("name", ["a\x1b[2K", "a\u202eb", "a\u200b", "\u3164", "a\nb"])
def test_a_name_is_what_its_reviewer_sees(name: str) -> None:
    for column in (
        {"name": name, "kind": "boolean"},
        {"name": "x", "kind": "category", "categories": ["a", name]},
    ):
        with pytest.raises(ValueError, match="seen"):
            Column.model_validate_json(json.dumps(column))
    with pytest.raises(ValueError, match="seen"):
        Measure.model_validate_json(json.dumps({"name": name, "statistic": "people"}))


def test_any_language_may_be_in_a_script() -> None:
    text = "# 收入\n\tprint('é')\n"
    assert check_script(text.encode()) == text


def test_a_verdict_is_its_owners_word() -> None:
    data = sign_verdict(verdict(), KEY)
    assert open_verdict(data, "tax", KEY.public) == verdict()
    check_about(verdict(), JOB)
    for other, key in (("tax", STRANGER.public), ("bank", KEY.public)):
        with pytest.raises(FusionError):
            open_verdict(data, other, key)
    for bad in (b"", data[:-1], data.replace(b"ey", b"eY", 1), b"x" * (MAX_VERDICT_BYTES + 1)):
        with pytest.raises(FusionError):
            open_verdict(bad, "tax", KEY.public)
    # Signed in its own name, about itself as another.
    with pytest.raises(FusionError):
        open_verdict(sign_verdict(verdict(owner="bank"), KEY), "tax", KEY.public)


@pytest.mark.parametrize(
    "changes",
    [
        {"runs": 0},
        {"why": "because"},
        {"verdict": "refused"},
        {"verdict": "refused", "runs": 0},
        {"verdict": "refused", "runs": 0, "why": "a\nb"},
    ],
)
def test_a_verdict_keeps_its_rules(changes: dict[str, Any]) -> None:
    with pytest.raises(FusionError):
        sign_verdict(verdict(**changes), KEY)


def test_a_table_of_its_own_making_never_leaves_by_itself() -> None:
    columns = [{"name": "n", "kind": "integer"}]
    own = Returns.model_validate_json(
        '{"form": "table", "reads": {"persons": []}, "columns": [{"name": "n", "kind": "integer"}]}'
    )
    assert [each.model_dump(include={"name", "kind"}) for each in own.columns] == columns
    job = JOB.model_copy(update={"returns": own})
    about = {"job": job.digest, "returns": own.digest}
    check_about(verdict(**about, release="checked"), job)
    with pytest.raises(FusionError):
        check_about(verdict(**about), job)


@pytest.mark.parametrize(
    ("found", "begun", "later", "code"),
    [
        (None, 0, 0, "P-02"),
        (verdict(verdict="refused", runs=0, why="no"), 0, 0, "P-03"),
        (verdict(), 0, 30, "P-04"),
        (verdict(), 2, 0, "P-05"),
    ],
)
def test_what_does_not_allow_a_run_says_why(
    found: Verdict | None, begun: int, later: int, code: str
) -> None:
    with pytest.raises(PythonRefused) as refused:
        check_allows(found, begun, NOW + timedelta(days=later))
    assert refused.value.code == code
    assert check_allows(verdict(), 1, NOW).runs == 2
