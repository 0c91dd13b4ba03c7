"""Writes ``denied.json``: requests that are denied, each with its code and its repair.

``python -m tests.vectors.grants.generate`` writes it again; a test fails while it differs from
what the code says. What each case is *about* (its name, its code) is written here by hand, so that
a decision that changes its mind is noticed and not just written down.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from fusion.grants.refusal import Refusal
from tests.grants.grants import Case

ALIGN = {"set_size": 1, "outcomes": ["size"], "minimum_intersection": 1, "runs": 1}
FILE = Path(__file__).with_name("denied.json")


def _cases() -> dict[str, tuple[str, Case]]:
    """Return name to expected code and case."""
    return {
        **_standing_cases(),
        **_time_cases(),
        **_who_and_what_cases(),
        **_train_cases(),
        **_align_cases(),
        **_promise_cases(),
        **_other_action_cases(),
        **_budget_cases(),
        **_mixed_cases(),
    }


def _standing_cases() -> dict[str, tuple[str, Case]]:
    found: dict[str, tuple[str, Case]] = {}
    for missing in ("bank", "customs", "tax", "hub"):
        rest = tuple(name for name in ("bank", "customs", "hub", "tax") if name != missing)
        found[f"not signed by {missing}"] = ("G-01", Case(signers=rest))
    found["signed by the operator alone"] = ("G-01", Case(signers=("bank",)))
    found["signed by one owner alone"] = ("G-01", Case(signers=("tax",)))
    found["signed by the authority alone"] = ("G-01", Case(signers=("hub",)))
    found["revoked"] = ("G-02", Case(revoked=True))
    found["the study names another grant"] = ("G-05", Case(request={"grants": ["ab" * 32]}))
    found["revoked and not complete"] = ("G-02", Case(revoked=True, signers=("tax",)))
    return found


def _time_cases() -> dict[str, tuple[str, Case]]:
    return {
        "a second too early": ("G-03", Case(now="2025-12-31T23:59:59Z")),
        "years too early": ("G-03", Case(now="2020-01-01T00:00:00Z")),
        "at the very end": ("G-04", Case(now="2027-01-01T00:00:00Z")),
        "long after": ("G-04", Case(now="2031-01-01T00:00:00Z")),
    }


def _who_and_what_cases() -> dict[str, tuple[str, Case]]:
    purposes = {"the grant has another": "dpv:PublicBenefit", "there is none such": "fun"}
    return {
        "another operator": ("G-12", Case(request={"assignee": "statistics"})),
        "an owner as operator": ("G-12", Case(request={"assignee": "customs"})),
        "an owner that gave nothing": ("G-11", Case(request={"party": "statistics"})),
        "the operator's own data": ("G-11", Case(request={"party": "bank"})),
        "another owner and operator": (
            "G-12",
            Case(request={"party": "bank", "assignee": "statistics"}),
        ),
        "another dataset": ("G-13", Case(request={"dataset": "people"})),
        "another dataset and schema": (
            "G-13",
            Case(request={"dataset": "people", "schema_digest": "e" * 64, "columns": ["id"]}),
        ),
        "another schema": ("G-14", Case(request={"schema_digest": "e" * 64})),
        "one column too many": ("G-15", Case(request={"columns": ["region", "owner"]})),
        "only columns not granted": ("G-15", Case(request={"columns": ["owner", "name"]})),
        "a label that is not granted": (
            "G-15",
            Case(request={"columns": ["region", "profit"], "needed": ["profit"]}),
        ),
        "a label beside the columns": ("G-15", Case(request={"needed": ["profit"]})),
        "no column": ("G-15", Case(request={"columns": []})),
        **{
            f"a purpose, {why}": ("G-16", Case(request={"purpose": purpose}))
            for why, purpose in purposes.items()
        },
    }


def _train_cases() -> dict[str, tuple[str, Case]]:
    without = {
        action: {"/permissions": {"align": ALIGN}} for action in ("train", "query", "score", "mock")
    }
    only_score = {"/permissions": {"score": {"rows": 1, "runs": 1}}}
    return {
        **{
            f"{action} is not permitted": ("G-21", Case(action=action, grant=grant))
            for action, grant in without.items()
        },
        "align is not permitted": ("G-21", Case(action="align", grant=only_score)),
        "train is not permitted, nothing said": (
            "G-21",
            Case(
                grant=without["train"],
                request={"model": None, "k": None, "rounds": None, "epsilon_micro": None},
            ),
        ),
        "train is not permitted, an unknown model": (
            "G-21",
            Case(grant=without["train"], request={"model": "forest", "k": 1, "rounds": 20_000}),
        ),
        "python is not permitted at all": (
            "G-21",
            Case(
                action="query",
                grant=without["query"],
                request={"output": "python", "code": "a" * 64},
            ),
        ),
        "another model": ("G-22", Case(request={"model": "mlp"})),
        "an unknown model": ("G-22", Case(request={"model": "forest"})),
        "no model": ("G-41", Case(request={"model": None})),
        "two contributors": ("G-23", Case(request={"k": 2})),
        "one contributor": ("G-23", Case(request={"k": 1})),
        "no number of contributors": ("G-41", Case(request={"k": None})),
        "one round too many": ("G-24", Case(request={"rounds": 11})),
        "a million rounds": ("G-24", Case(request={"rounds": 1_000_000})),
        "no number of rounds": ("G-41", Case(request={"rounds": None})),
        "training without epsilon": ("G-41", Case(request={"epsilon_micro": None})),
        "rows in training": ("G-42", Case(request={"rows": 5})),
        "code in training": ("G-42", Case(request={"code": "a" * 64})),
    }


def _align_cases() -> dict[str, tuple[str, Case]]:
    only_score = {"/permissions": {"score": {"rows": 1, "runs": 1}}}
    return {
        "align is not permitted, nothing said": (
            "G-21",
            Case(
                action="align",
                grant=only_score,
                request=dict.fromkeys(
                    (
                        "set_size",
                        "outcome",
                        "minimum_intersection",
                        "minimum_overlap_permille",
                    )
                ),
            ),
        ),
        "align is not permitted, an unknown outcome": (
            "G-21",
            Case(
                action="align",
                grant=only_score,
                request={"outcome": "all", "minimum_intersection": 0},
            ),
        ),
        "a set that is too large": ("G-25", Case("align", {"set_size": 1001})),
        "no size of a set": ("G-41", Case("align", {"set_size": None})),
        "another outcome of an alignment": ("G-28", Case("align", {"outcome": "one"})),
        "an unknown outcome of an alignment": ("G-28", Case("align", {"outcome": "all"})),
        "no outcome of an alignment": ("G-41", Case("align", {"outcome": None})),
        "too few records in common": ("G-29", Case("align", {"minimum_intersection": 0})),
        "no minimum of records in common": ("G-41", Case("align", {"minimum_intersection": None})),
        "too small an overlap": ("G-30", Case("align", {"minimum_overlap_permille": 99})),
        "no overlap": ("G-41", Case("align", {"minimum_overlap_permille": None})),
        "an outcome of training": ("G-42", Case(request={"outcome": "size"})),
        "rounds of an alignment": ("G-42", Case("align", {"rounds": 2})),
    }


def _promise_cases() -> dict[str, tuple[str, Case]]:
    nothing = dict.fromkeys(("membership_permille", "label_leak_permille", "smallest_leaf"))
    without = {"/permissions": {"score": {"rows": 1, "runs": 1}}}
    return {
        "members told too well": ("G-61", Case(request={"membership_permille": 101})),
        "members told beyond any rate": ("G-61", Case(request={"membership_permille": 5000})),
        "no word on members": ("G-41", Case(request={"membership_permille": None})),
        "labels leak too much": ("G-62", Case(request={"label_leak_permille": 201})),
        "no word on labels": ("G-41", Case(request={"label_leak_permille": None})),
        "leaves too small": ("G-63", Case(request={"smallest_leaf": 19})),
        "leaves of one": ("G-63", Case(request={"smallest_leaf": 1})),
        "no word on leaves": ("G-41", Case(request={"smallest_leaf": None})),
        "no promise at all": ("G-41", Case(request=nothing)),
        "every promise too weak": (
            "G-61",
            Case(
                request={
                    "membership_permille": 900,
                    "label_leak_permille": 900,
                    "smallest_leaf": 2,
                }
            ),
        ),
        "promises where train is not permitted": (
            "G-21",
            Case(grant=without, request={"membership_permille": 2000, "smallest_leaf": None}),
        ),
        "a promise of a query": ("G-42", Case("query", {"smallest_leaf": 5})),
    }


def _other_action_cases() -> dict[str, tuple[str, Case]]:
    python = {"output": "python", "code": "c" * 64}
    only_python = {"/permissions/query/outputs": ["python"]}
    only_table = {"/permissions/query/outputs": ["table"], "/permissions/query/code": []}
    return {
        "another output": ("G-26", Case("query", {"output": "statistic"})),
        "an unknown output": ("G-26", Case("query", {"output": "dump"})),
        "no output": ("G-41", Case("query", {"output": None})),
        "a table where only python is": ("G-26", Case("query", grant=only_python)),
        "python where only tables are": ("G-26", Case("query", python, only_table)),
        "other code": ("G-27", Case("query", {**python, "code": "a" * 64})),
        "python without code": ("G-41", Case("query", {**python, "code": None})),
        "code beside a table": ("G-27", Case("query", {"code": "c" * 64})),
        "a query without rows": ("G-41", Case("query", {"rows": None})),
        "a query without epsilon": ("G-41", Case("query", {"epsilon_micro": None})),
        "a score with another model": (
            "G-34",
            Case("score", {"model_names": ["a" * 64, "b" * 64, "debit"]}),
        ),
        "a score with a model that is not said": ("G-41", Case("score", {"model_names": None})),
        "a model's name of a query": ("G-42", Case("query", {"model_names": ["debit"]})),
        "a score without rows": ("G-41", Case("score", {"rows": None})),
        "epsilon of a score": ("G-42", Case("score", {"epsilon_micro": 5})),
        "a mock without rows": ("G-41", Case("mock", {"rows": None})),
        "a mock without epsilon": ("G-41", Case("mock", {"epsilon_micro": None})),
        "a model of a mock": ("G-42", Case("mock", {"model": "mlp"})),
    }


def _budget_cases() -> dict[str, tuple[str, Case]]:
    return {
        "every run of training used": ("G-31", Case(used={"runs": 5})),
        "every run of alignment used": ("G-31", Case("align", used={"runs": 2})),
        "every query used": ("G-31", Case("query", used={"runs": 3})),
        "every score used": ("G-31", Case("score", used={"runs": 4})),
        "more epsilon than granted": ("G-32", Case(request={"epsilon_micro": 2_000_001})),
        "more epsilon than is left": ("G-32", Case(used={"epsilon_micro": 1_900_000})),
        "no epsilon left": ("G-32", Case(used={"epsilon_micro": 2_000_000})),
        "no epsilon left, none said": (
            "G-41",
            Case(request={"epsilon_micro": None}, used={"epsilon_micro": 2_000_000}),
        ),
        "a query's epsilon": (
            "G-32",
            Case("query", {"epsilon_micro": 400_000}, used={"epsilon_micro": 200_000}),
        ),
        "more rows of a query than granted": ("G-33", Case("query", {"rows": 101})),
        "more rows of a query than are left": ("G-33", Case("query", used={"rows": 95})),
        "no rows of a query left": ("G-33", Case("query", used={"rows": 100})),
        "more rows of a score": ("G-33", Case("score", {"rows": 501})),
        "no rows of a score left": ("G-33", Case("score", used={"rows": 500})),
        "a second mock": (
            "G-31",
            Case("mock", used={"runs": 1, "epsilon_micro": 100_000, "rows": 50}),
        ),
    }


def _mixed_cases() -> dict[str, tuple[str, Case]]:
    wrong = {"model": "mlp", "k": 1, "rounds": 99, "epsilon_micro": 9_000_000}
    return {
        "every limit of training": ("G-22", Case(request=wrong)),
        "every limit, all used": (
            "G-22",
            Case(request=wrong, used={"runs": 5, "epsilon_micro": 2_000_000}),
        ),
        "expired, another purpose and column": (
            "G-04",
            Case(
                request={"purpose": "dpv:PublicBenefit", "columns": ["owner"]},
                now="2028-01-01T00:00:00Z",
            ),
        ),
        "everybody and everything is another": (
            "G-02",
            Case(
                revoked=True,
                signers=("tax",),
                now="2028-01-01T00:00:00Z",
                request={
                    **wrong,
                    "assignee": "statistics",
                    "party": "bank",
                    "dataset": "people",
                    "purpose": "dpv:PublicBenefit",
                },
            ),
        ),
        "too early and not signed": (
            "G-01",
            Case(signers=("tax", "bank"), now="2025-06-01T00:00:00Z"),
        ),
    }


def denied() -> list[dict[str, Any]]:
    """Return every case with the refusal that the code gives now."""
    found = []
    for name, (code, case) in _cases().items():
        refusal = case.decide()
        if not isinstance(refusal, Refusal):
            message = f"{name}: permitted"
            raise TypeError(message)
        said = refusal.to_json()
        found.append(
            {
                "name": name,
                "action": case.action,
                "request": case.request,
                "grant": case.grant,
                "signers": None if case.signers is None else list(case.signers),
                "revoked": case.revoked,
                "used": case.used,
                "now": case.now,
                "code": code,
                "codes": [clause["code"] for clause in said["clauses"]],
                "repair": said["repair"],
                "text": said["text"],
                "advice": said["advice"],
            }
        )
    return found


def main() -> None:
    """Write the file."""
    text = json.dumps(denied(), indent=1, ensure_ascii=False)
    FILE.write_text(text + "\n", "utf-8")


if __name__ == "__main__":
    main()
