"""The decision is total, denies by default, and never permits more than the grant says."""

from __future__ import annotations

import re
import time
from datetime import timedelta, timezone
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import decisions
from fusion.grants.budget import Amount
from fusion.grants.decide import State, decide, no_grant
from fusion.grants.document import moment_of
from fusion.grants.permit import Permit
from fusion.grants.refusal import Refusal
from fusion.wire import canonical
from tests.grants.grants import DOCUMENT, NOW, SCHEMA, Case, grant_from, request_from, signed_by

if TYPE_CHECKING:
    from datetime import datetime

    from fusion.grants.signing import SignedGrant

SIGNED = signed_by(grant_from(DOCUMENT))
PARTIAL = signed_by(grant_from(DOCUMENT), ("bank", "tax"))

_number = st.none() | st.integers(1, 12) | st.sampled_from([100, 400_000, 2_000_000, 2**53 - 1])
_requests = st.fixed_dictionaries(
    {
        "assignee": st.sampled_from(["bank", "tax"]),
        "party": st.sampled_from(["tax", "customs", "statistics"]),
        "dataset": st.sampled_from(["firms", "people"]),
        "columns": st.lists(st.sampled_from(["region", "overdue", "owner"]), max_size=3),
        "needed": st.lists(st.sampled_from(["region", "owner"]), max_size=1),
        "schema_digest": st.sampled_from([SCHEMA, "e" * 64]),
        "purpose": st.sampled_from(["dpv:CreditChecking", "dpv:PublicBenefit", "?"]),
        "model": st.sampled_from([None, "logistic", "mlp", "forest"]),
        "k": _number,
        "rounds": _number,
        "epsilon_micro": _number,
        "membership_permille": _number,
        "label_leak_permille": _number,
        "smallest_leaf": _number,
        "rows": _number,
        "set_size": _number,
        "outcome": st.sampled_from([None, "size", "one", "all"]),
        "minimum_intersection": st.none() | st.integers(0, 60),
        "minimum_overlap_permille": st.none() | st.integers(0, 200),
        "output": st.sampled_from([None, "table", "statistic", "python", "?"]),
        "code": st.sampled_from([None, "c" * 64, "a" * 64]),
        "model_names": st.sampled_from([None, ["e" * 64, "credit"], ["a" * 64, "debit"]]),
    }
)
_actions = st.sampled_from(["train", "align", "query", "score", "mock"])
_amounts = st.builds(
    Amount,
    runs=st.integers(0, 6),
    epsilon_micro=st.integers(0, 3_000_000),
    rows=st.integers(0, 600),
)
_moments = st.integers(-400, 400).map(lambda days: NOW + timedelta(days=days))


@given(_actions, _requests, _amounts, st.booleans(), _moments, st.booleans())
def test_it_is_total_and_permits_only_what_the_grant_says(
    action: str,
    values: dict[str, Any],
    used: Amount,
    revoked: bool,
    now: datetime,
    complete: bool,
) -> None:
    signed: SignedGrant = SIGNED if complete else PARTIAL
    request = request_from(action, values)
    result = decide(signed, request, State(revoked=revoked, used=used), now)
    if isinstance(result, Refusal):
        canonical.encode(result.to_json())
        assert result.text("zh")
        assert result.advice("en")
        return
    grant = signed.grant
    assert complete
    assert not revoked
    assert moment_of(grant.not_before) <= now < moment_of(grant.not_after)
    assert set(request.columns) | set(request.needed) <= set(grant.dataset.columns)
    assert request.columns or request.needed
    assert (request.dataset, request.purpose) == (grant.dataset.id, grant.purpose)
    assert request.party in grant.assigners
    assert not result.cap.exceeded(used, result.cost)


@given(_actions, _amounts)
def test_a_request_that_fits_is_permitted_while_the_budget_lasts(action: str, used: Amount) -> None:
    request = request_from(action)
    result = decide(SIGNED, request, State(used=used), NOW)
    if isinstance(result, Refusal):
        assert {c.code for c in result.clauses} <= {"G-31", "G-32", "G-33"}
    else:
        assert not result.cap.exceeded(used, result.cost)


def test_a_grant_that_lists_no_code_leaves_it_to_the_owner() -> None:
    python = {"output": "python", "code": "a" * 64}
    listed = Case("query", python).decide()
    assert isinstance(listed, Refusal)
    assert listed.code == "G-27"
    approved: dict[str, Any] = {"/permissions/query/code": []}
    assert isinstance(Case("query", python, approved).decide(), Permit)
    unnamed = Case("query", {"output": "python"}, approved).decide()
    assert isinstance(unnamed, Refusal)
    # Which jobs there are is not for a grant to know, so that there is no repair.
    assert (unnamed.code, unnamed.repair) == ("G-41", None)
    only = {"/permissions/query/outputs": ["python"], **approved}
    table = Case("query", grant=only).decide()
    assert isinstance(table, Refusal)
    assert [clause.code for clause in table.clauses] == ["G-26", "G-41"]


@pytest.mark.parametrize("name", ["e" * 64, "f" * 64, "credit"])
def test_a_grant_is_bound_to_a_model_by_id_study_or_name(name: str) -> None:
    only: dict[str, Any] = {"/permissions/score/only_models": [name]}
    assert isinstance(Case("score", grant=only).decide(), Permit)
    other = Case("score", {"model_names": ["a" * 64, "b" * 64, "debit"]}, only).decide()
    assert isinstance(other, Refusal)
    assert other.code == "G-34"
    unnamed = Case("score", {"model_names": None}, only).decide()
    assert isinstance(unnamed, Refusal)
    assert unnamed.code == "G-41"
    every: dict[str, Any] = {"/permissions/score/only_models": []}
    assert isinstance(Case("score", {"model_names": None}, every).decide(), Permit)


def test_the_ends_of_the_validity_are_exact() -> None:
    request = request_from()
    begin, end = moment_of(DOCUMENT["not_before"]), moment_of(DOCUMENT["not_after"])
    second = timedelta(seconds=1)
    for moment, good in (
        (begin, True),
        (begin - second, False),
        (end - second, True),
        (end, False),
    ):
        result = decide(SIGNED, request, State(), moment)
        assert isinstance(result, Permit) is good


def test_another_time_zone_is_the_same_moment() -> None:
    east = timezone(timedelta(hours=8))
    moment = moment_of(DOCUMENT["not_after"]).astimezone(east)
    assert isinstance(decide(SIGNED, request_from(), State(), moment), Refusal)
    earlier = decide(SIGNED, request_from(), State(), moment - timedelta(seconds=1))
    assert isinstance(earlier, Permit)


def test_without_any_grant_nothing_passes() -> None:
    refusal = no_grant(request_from())
    assert refusal.code == "G-00"
    assert refusal.repair is None
    assert "firms of tax" in refusal.text()


def test_a_refusal_is_an_error_with_its_code_and_its_repair() -> None:
    refusal = decide(SIGNED, request_from("train", {"rounds": 30}), State(), NOW)
    assert isinstance(refusal, Refusal)
    error = refusal.error()
    assert (error.code, error.exit_code) == ("G-24", 4)
    assert error.message == "tax: 30 rounds are too many; at most 10 are permitted."
    assert error.hint == "ask for rounds = 10."
    assert refusal.text("zh") == "tax：轮数 30 过多；至多 10。"


def test_the_benchmark_prints_its_figures(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decisions, "SECONDS", 0.05)
    decisions.main()
    rates = [
        float(rate.replace(",", "")) for rate in re.findall(r"([\d,]+) /s", capsys.readouterr().out)
    ]
    assert len(rates) == 5
    assert min(rates) > 0


def test_it_decides_quickly() -> None:
    """A tenth of what is promised, on any machine; the benchmark prints the figure."""
    request = request_from()
    began = time.process_time()
    for _ in range(200):
        decide(SIGNED, request, State(), NOW)
    assert time.process_time() - began < 1.0
