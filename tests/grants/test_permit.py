"""A permit comes from a decision and nowhere else, and is good once."""

from __future__ import annotations

import copy
import pickle
import threading

import pytest

from fusion.errors import GrantRefused
from fusion.grants.permit import Permit
from tests.docs.sources import SHIPPED, imported_modules, name, python_files
from tests.grants.grants import Case


def _permit() -> Permit:
    permit = Case().decide()
    assert isinstance(permit, Permit)
    return permit


def test_a_permit_names_grant_job_and_limits() -> None:
    permit = _permit()
    assert len(permit.grant) == 64
    assert permit.request.job == "job-1"
    assert (permit.request.k, permit.request.rounds) == (3, 10)
    assert (permit.cost.runs, permit.cost.epsilon_micro, permit.cost.rows) == (1, 400_000, 0)
    assert (permit.cap.runs, permit.cap.epsilon_micro, permit.cap.rows) == (5, 2_000_000, None)
    assert permit.expires.isoformat() == "2027-01-01T00:00:00+00:00"


def test_it_is_spent_once() -> None:
    permit = _permit()
    assert not permit.spent
    permit.spend()
    assert [permit.spent] == [True]
    with pytest.raises(GrantRefused, match="used"):
        permit.spend()


def test_of_many_threads_one_spends_it() -> None:
    permit = _permit()
    start, done = threading.Barrier(8), []

    def spend() -> None:
        start.wait()
        try:
            permit.spend()
        except GrantRefused:
            return
        done.append(1)

    threads = [threading.Thread(target=spend) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert done == [1]


def test_it_is_not_made_elsewhere() -> None:
    with pytest.raises(GrantRefused, match="decision"):
        Permit(object(), grant="g")
    hollow = object.__new__(Permit)
    with pytest.raises(AttributeError):
        hollow.spend()
    with pytest.raises(TypeError):
        type("Other", (Permit,), {})


def test_it_is_neither_copied_nor_changed_nor_stored() -> None:
    permit = _permit()
    for attempt in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError):
            attempt(permit)
    with pytest.raises(AttributeError):
        permit.grant = "another"
    with pytest.raises(AttributeError):
        del permit.request


def test_only_the_decision_can_issue() -> None:
    users = {
        name(path)
        for path in python_files(*SHIPPED)
        if any(word in path.read_text("utf-8") for word in ("_issue(", "import Permit, _issue"))
        and "fusion.grants.permit" in imported_modules(path)
    }
    assert users == {"fusion/grants/decide.py"}
