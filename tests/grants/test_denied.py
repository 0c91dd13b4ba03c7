"""The corpus of denied requests: the code, the repair, and that the repair gets a permit."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from fusion.errors import GrantInvalid
from fusion.grants.permit import Permit
from fusion.grants.refusal import WORDS, Change, Code, Refusal
from tests.grants.grants import Case
from tests.vectors.grants.generate import FILE, denied

CORPUS: list[dict[str, Any]] = json.loads(FILE.read_text("utf-8"))


def _case(found: dict[str, Any]) -> Case:
    signers = None if found["signers"] is None else tuple(found["signers"])
    kept = {name: found[name] for name in ("action", "request", "grant", "revoked", "used", "now")}
    return Case(**kept, signers=signers)


def test_there_are_enough_and_they_are_different() -> None:
    assert len(CORPUS) >= 60
    assert len({case["name"] for case in CORPUS}) == len(CORPUS)


def test_the_file_says_what_the_code_says() -> None:
    assert denied() == CORPUS, "python -m tests.vectors.grants.generate"


@pytest.mark.parametrize("found", CORPUS, ids=lambda found: found["name"])
def test_a_denied_request_has_its_code_and_its_repair(found: dict[str, Any]) -> None:
    refusal = _case(found).decide()
    assert isinstance(refusal, Refusal)
    assert refusal.code == found["code"]
    assert [clause.code for clause in refusal.clauses] == found["codes"]
    assert [change.to_json() for change in refusal.repair or ()] == found["repair"]


@pytest.mark.parametrize("found", CORPUS, ids=lambda found: found["name"])
def test_the_repair_gets_a_permit(found: dict[str, Any]) -> None:
    case = _case(found)
    refusal = case.decide()
    assert isinstance(refusal, Refusal)
    permit = case.repaired(refusal)
    assert isinstance(permit, Permit), permit


@pytest.mark.parametrize("found", CORPUS, ids=lambda found: found["name"])
def test_no_step_of_a_repair_can_be_left_out(found: dict[str, Any]) -> None:
    """The smallest change: without any one step, the request is still refused."""
    case = _case(found)
    refusal = case.decide()
    assert isinstance(refusal, Refusal)
    for step in filter(_matters, refusal.repair or ()):
        clauses = tuple(
            replace(clause, changes=rest)
            for clause in refusal.clauses
            if (rest := tuple(change for change in clause.changes if change != step))
        )
        if not clauses:
            continue  # it is the only step
        try:
            result = case.repaired(replace(refusal, clauses=clauses))
        except GrantInvalid:
            continue  # a grant that contradicts itself
        assert isinstance(result, Refusal), step


def _matters(step: Change) -> bool:
    """Whether a step is more than a formality.

    A new grant names the one before it, and has new budgets as it is: a repair only makes these
    as small as they can be.
    """
    return step.path != "/replaces" and not (
        step.target == "grant" and step.path.endswith(("/runs", "/rows", "/epsilon_micro"))
    )


def test_every_code_of_a_decision_is_in_the_corpus() -> None:
    seen = {code for case in CORPUS for code in case["codes"]}
    assert seen == {code.value for code in Code} - {Code.NO_GRANT}


def test_every_code_has_words_in_both_languages() -> None:
    assert set(WORDS) == set(Code)
    for case in CORPUS:
        english, chinese = case["text"]["en"], case["text"]["zh"]
        assert english.isascii()
        assert not chinese.isascii()
        assert "{" not in english.replace("{'", "")
        assert case["advice"]["en"] != case["advice"]["zh"]
