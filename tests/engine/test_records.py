"""What events add up to, and who was there: pure, event by event."""

from __future__ import annotations

from typing import Any

from federated.attendance import Absence, Attendance
from federated.records import record
from fusion.stores.memory import MemoryJournal
from fusion.types import OrgId

A, B, C = map(OrgId, ("a", "b", "c"))
PARTS = ("train", "encrypt", "wait", "aggregate", "decrypt", "combine", "total")


def start(at: str) -> dict[str, Any]:
    return {"event": "start", "at": at, "job": "j", "organisations": ["a", "b"], "rounds": 2}


def summed(number: int, *, size: int = 10, seconds: float = 1.0) -> dict[str, Any]:
    parts = dict.fromkeys(PARTS, seconds)
    return {"event": "round", "at": "t", "round": number, "bytes": size, "seconds": parts}


def ended(**changes: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON values
    document = {"event": "end", "at": "t9", "status": "done", "message": "", "exit_code": 0}
    return {**document, **changes}


def test_nothing_happened_yet() -> None:
    empty = record([])
    assert (empty["status"], empty["message"], empty["exit_code"]) == ("running", "", None)
    assert (empty["rounds"], empty["metrics"], empty["bytes"]) == ([], [], 0)
    assert empty["seconds"] == dict.fromkeys(PARTS, 0)


def test_a_run_is_summed_up() -> None:
    events = [
        start("t1"),
        {"event": "setup", "at": "t", "organisation": "a", "status": "absent"},
        {"event": "setup", "at": "t", "organisation": "b", "status": "ready"},
        {"event": "phase", "at": "t", "round": 1, "phase": "train"},
        summed(1, size=10, seconds=1.0),
        {"event": "setup", "at": "t", "organisation": "a", "status": "back"},
        summed(0, size=5, seconds=0.5),
        {"event": "metrics", "at": "t", "round": 2, "auc": 0.8},
        {"event": "metrics", "at": "t", "round": 1, "auc": 0.7},
        {"event": "refusal", "at": "t", "organisation": "b", "code": "F-402", "message": "no"},
        ended(),
    ]
    found = record(events)
    assert found["job"] == "j"
    assert (found["started"], found["ended"], found["status"]) == ("t1", "t9", "done")
    assert [event["round"] for event in found["rounds"]] == [0, 1]
    assert [event["auc"] for event in found["metrics"]] == [0.7, 0.8]
    assert [(e["organisation"], e["status"]) for e in found["setup"]] == [
        ("a", "back"), ("b", "ready"),
    ]  # fmt: skip
    assert [event["code"] for event in found["refusals"]] == ["F-402"]
    assert found["bytes"] == 15
    assert found["seconds"] == dict.fromkeys(PARTS, 1.5)
    assert not {"event", "at"} & set(found)


def test_a_round_that_a_restart_did_again_counts_once() -> None:
    found = record([start("t1"), summed(1, size=10), start("t5"), summed(1, size=99), ended()])
    assert (found["started"], found["bytes"], len(found["rounds"])) == ("t1", 99, 1)


def test_a_run_that_failed_says_why() -> None:
    found = record([start("t1"), ended(status="failed", message="why", exit_code=6)])
    assert (found["status"], found["message"], found["exit_code"]) == ("failed", "why", 6)


# -------------------------------------------------------------------- attendance


def test_everyone_is_there_until_something_is_missed() -> None:
    attendance = Attendance((C, A, B), MemoryJournal())
    assert (attendance.present(), attendance.absent()) == ((C, A, B), ())


def test_who_leaves_is_out_since_then_until_it_comes_back() -> None:
    attendance = Attendance((C, A, B), MemoryJournal())
    attendance.leave(B, since="t1", reason="late")
    attendance.leave(C, since="t2", reason="away")
    attendance.leave(B, since="t3", reason="later still")
    assert attendance.present() == (A,)
    # In the study's order; the first date with the newest reason.
    assert attendance.absent() == (Absence(C, "t2", "away"), Absence(B, "t1", "later still"))
    attendance.come_back([B, A])
    assert (attendance.present(), attendance.absent()) == ((A, B), (Absence(C, "t2", "away"),))
    attendance.leave(B, since="t4", reason="again")
    assert attendance.absent()[1] == Absence(B, "t4", "again")


def test_the_date_of_an_absence_survives_a_restart_and_ends_with_it() -> None:
    journal = MemoryJournal()
    Attendance((A, B), journal).leave(B, since="t1", reason="late")
    restarted = Attendance((A, B), journal)
    assert restarted.absent() == ()
    restarted.leave(B, since="t2", reason="still away")
    assert restarted.absent() == (Absence(B, "t1", "still away"),)
    restarted.come_back([B])
    again = Attendance((A, B), journal)
    again.leave(B, since="t3", reason="late")
    assert again.absent() == (Absence(B, "t3", "late"),)


def test_news_are_told_once() -> None:
    attendance = Attendance((A, B), MemoryJournal())
    attendance.leave(B, since="t1", reason="late")
    assert attendance.news() == ["b is left out at t1: late"]
    assert attendance.news() == []


def test_a_lost_quorum_says_who_is_missing_and_since_when() -> None:
    attendance = Attendance((A, B, C), MemoryJournal())
    attendance.leave(B, since="t1", reason="late")
    error = attendance.lost(3, 2, "round 4")
    assert error.exit_code == 6
    assert error.message == (
        "2 of 3 organisations are there for round 4; 3 have to contribute and 2 key holders to "
        "decrypt. Missing: b since t1 (late)."
    )
    assert "Missing: none." in Attendance((A,), MemoryJournal()).lost(2, 1, "it").message
