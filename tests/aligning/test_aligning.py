"""Alignments between nodes, from the operator's order to what each party has of it."""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING

import pytest

from fusion.alignment import controls
from fusion.alignment.controls import Limits, Run
from fusion.errors import AlignmentRefused, InputInvalid, PartyFailed, StudyInvalid
from fusion.ledger.alignment_entries import SetAligned, SetCommitted
from fusion.ledger.entry import decode
from fusion.ledger.verify import Expectations
from fusion.services import align_jobs, grants
from fusion.services.align_jobs import Job
from fusion.services.aligning import Operator
from fusion.services.audit import audit_whole
from fusion.services.ledger import Book
from fusion.services.node_link import Connection
from tests.aligning.world import BANK, COMMON, COMMON_OF_ALL, GOV, KEYS, TAX, study_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fusion.ledger.entry import Entry
    from fusion.services.homes import NodeHome
    from tests.aligning.world import World


@pytest.fixture(scope="module")
def up(world: World) -> Iterator[World]:
    """All three nodes serve."""
    with world.serving(BANK, GOV, TAX):
        yield world


def _entries(node: NodeHome, job: str) -> list[Entry]:
    with Book(node) as book:
        found = [decode(data) for data in book.ledger.entries(0, book.ledger.size())]
    return [each for each in found if getattr(each, "job", None) == job]


def test_the_operator_learns_sizes_and_its_own_report_and_nothing_else(up: World) -> None:
    result = up.align(study_text())
    document = result.document()
    report = document.pop("report")
    assert report["keys"] == 60
    assert document == {
        "job": result.job,
        "outcome": "size",
        "common": COMMON,
        "parties": [{"organisation": BANK, "records": 60}, {"organisation": GOV, "records": 70}],
    }
    for name in (BANK, GOV):
        job = Job(up.nodes[name], result.job)
        assert json.loads((job.path / "report.json").read_bytes())["keys"] == len(KEYS[name])
        assert not (job.path / "rows.json").exists()
        assert not (job.path / "session.sealed").exists()
    assert Job(up.nodes[GOV], result.job).state.common is None


def test_the_logs_of_both_have_the_same_commitments_and_pass_an_audit(up: World) -> None:
    job = up.align(study_text()).job
    found = {name: _entries(up.nodes[name], job) for name in (BANK, GOV)}
    sets = {
        name: next(each for each in of if isinstance(each, SetCommitted))
        for name, of in found.items()
    }
    assert sets[BANK].peer_commitments == (sets[GOV].commitment,)
    assert sets[GOV].peer_commitments == (sets[BANK].commitment,)
    assert (sets[BANK].records, sets[BANK].peer_records) == (60, (70,))
    learned = {
        name: next(each for each in of if isinstance(each, SetAligned))
        for name, of in found.items()
    }
    assert (learned[BANK].learned, learned[BANK].common) == ("size", COMMON)
    assert (learned[GOV].learned, learned[GOV].common) == ("nothing", 0)


def test_both_learn_which_rows_where_the_study_says_so(up: World) -> None:
    job = up.align(study_text(outcome="both")).job
    for name in (BANK, GOV):
        rows = json.loads((Job(up.nodes[name], job).path / "rows.json").read_bytes())["rows"]
        assert {KEYS[name][row] for row in rows} == set(KEYS[BANK]) & set(KEYS[GOV])


def test_three_parties_go_round_a_ring(up: World) -> None:
    result = up.align(study_text((BANK, GOV, TAX)))
    assert result.document()["common"] == COMMON_OF_ALL


def test_an_operator_that_is_no_party_learns_the_size(up: World) -> None:
    for owner in (GOV, TAX):
        up.grant(owner, operator=BANK)
    result = up.align(study_text((GOV, TAX)))
    document = result.document()
    assert document["common"] == len(set(KEYS[GOV]) & set(KEYS[TAX]))
    assert document["report"] is None


@pytest.mark.parametrize(
    ("more", "code"),
    [
        ({"minimum_intersection": 9}, "G-29"),
        ({"set_size": 1001}, "G-25"),
        ({"minimum_intersection": COMMON + 1}, "A-14"),
        ({"set_size": 65}, "A-11"),
        ({"minimum_overlap_permille": 999}, "A-13"),
    ],
)
def test_what_a_grant_or_the_sizes_do_not_allow_is_refused(
    up: World, more: dict[str, int], code: str
) -> None:
    with pytest.raises(PartyFailed) as caught:
        up.align(study_text(**more))  # type: ignore[arg-type]
    assert caught.value.code == code


def test_a_study_of_another_operator_or_with_a_mistake_is_not_ordered(up: World) -> None:
    with pytest.raises(InputInvalid, match="operator"):
        up.align(study_text(operator=GOV))
    with pytest.raises(StudyInvalid, match=r"study\.toml:12"):
        up.align(study_text().replace("[alignment]", "[aligment]"))


def test_without_a_grant_of_its_own_a_party_refuses(up: World) -> None:
    with pytest.raises(PartyFailed) as caught:
        up.align(study_text((GOV, BANK), operator=GOV), operator=GOV)
    assert caught.value.code in {"G-12", "G-00"}
    assert caught.value.party in {GOV, BANK}


def test_a_set_that_differs_by_a_few_is_refused_and_the_same_is_not(up: World) -> None:
    up.align(study_text())
    up.table(BANK, KEYS[BANK][:-1])
    with pytest.raises(PartyFailed) as caught:
        up.align(study_text())
    up.table(BANK, KEYS[BANK])
    assert (caught.value.code, caught.value.party) == ("A-16", BANK)
    assert up.align(study_text()).document()["common"] == COMMON
    runs = align_jobs.earlier(up.nodes[BANK], GOV, besides="")
    assert {run.own for run in runs} == {60}
    # What was refused before a word of the peer came has no size of its set.
    assert {run.peer for run in runs} == {0, 70}


def test_a_size_is_not_shown_before_it_is_charged(up: World) -> None:
    """An operator could count a table, as often as it likes."""
    node = up.nodes[GOV]
    before = {job.name for job in align_jobs.jobs(node)}
    with pytest.raises(PartyFailed):
        up.align(study_text(set_size=65))
    (job,) = align_jobs.jobs(node, besides=before)
    assert (job.state.status, job.state.records) == ("failed", None)


def test_an_order_of_a_stranger_leaves_nothing(up: World) -> None:
    node = up.nodes[GOV]
    with Book(node) as book:
        size = book.ledger.size()
        before = {job.name for job in align_jobs.jobs(node)}
        with pytest.raises(PartyFailed) as caught:
            up.align(study_text((GOV, BANK), operator=TAX), operator=TAX)
        assert (caught.value.code, caught.value.party) == ("G-00", GOV)
        assert align_jobs.jobs(node, besides=before) == []
        assert book.ledger.size() == size


def test_what_fails_unforeseen_says_nothing_of_the_node(up: World) -> None:
    node = up.nodes[GOV]
    with Connection(up.nodes[BANK]) as connection:
        ordered = Operator(up.nodes[BANK], connection, study_text((GOV, BANK)), "study.toml")
        in_the_way = node.path / "alignments" / ordered.job
        in_the_way.parent.mkdir(exist_ok=True)
        in_the_way.write_bytes(b"")
        with pytest.raises(PartyFailed) as caught:
            ordered.run(threading.Event(), lambda _: None)
        in_the_way.unlink()
    assert caught.value.code == "F-000"
    assert str(node.path) not in str(caught.value)


def test_runs_at_a_time_are_held_to_each_other_and_a_job_to_its_set(up: World) -> None:
    node, limits = up.nodes[TAX], Limits(9, 5)

    def begin(job: str, keys: list[str]) -> bool:
        marks = controls.sketch(align_jobs.secret_of(node), keys)
        run = Run(job, "text", len(keys), 0, "", marks)
        return align_jobs.hold_to_earlier(node, ("other.example",), limits, run)

    keys = KEYS[TAX]
    assert not begin("job-000000000001", keys)
    with pytest.raises(AlignmentRefused, match="too few"):
        begin("job-000000000002", keys[1:])
    assert begin("job-000000000001", keys)
    with pytest.raises(InputInvalid, match="changed"):
        begin("job-000000000001", keys[1:])


def test_runs_are_counted(up: World) -> None:
    tight = up.grant(GOV, runs=1)
    # Earlier runs with the bank are remembered: one is the most that this grant has.
    with pytest.raises(PartyFailed) as caught:
        up.align(study_text() + f'grants = ["{tight}"]\n')
    assert (caught.value.code, caught.value.party) == ("A-15", GOV)


def test_a_revoked_grant_ends_it(up: World) -> None:
    name = up.grant(GOV, runs=49)
    grants.revoke(up.nodes[GOV], name, "over")
    with pytest.raises(PartyFailed) as caught:
        up.align(study_text() + f'grants = ["{name}"]\n')
    assert (caught.value.code, caught.value.party) == ("G-02", GOV)


def test_the_log_of_a_node_is_in_order(up: World) -> None:
    for name in (BANK, GOV):
        with Book(up.nodes[name]) as book:
            found = audit_whole(book.bundle(), Expectations(witnessed=False), ())
        assert found.orders
        assert found.decisions
