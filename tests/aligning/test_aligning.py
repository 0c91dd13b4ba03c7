"""Alignments between nodes, from the operator's order to what each party has of it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from federated.cohort import Request
from federated.engine import ENGINE
from federated.jobs import JobFolder
from federated.seats import seat_of, vertical_seat_of
from federated.vertical.party import VerticalParty
from fusion.alignment import controls
from fusion.alignment.controls import Limits, Run
from fusion.alignment.study import parse_study
from fusion.errors import (
    AlignmentRefused,
    FusionError,
    InputInvalid,
    PartyFailed,
    StudyInvalid,
    VerificationFailed,
)
from fusion.ledger.alignment_entries import SetAligned, SetCommitted
from fusion.ledger.entry import decode
from fusion.ledger.verify import Expectations
from fusion.services import align_results, earlier_runs, grants
from fusion.services.align_results import Told
from fusion.services.audit import audit_all, audit_whole
from fusion.services.homes import NodeHome
from fusion.services.ledger import Book
from fusion.services.node_link import Connection
from tests.aligning.world import BANK, COMMON, COMMON_OF_ALL, GOV, KEYS, TAX, study_text

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from fusion.ledger.entry import Entry
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


def test_the_operator_learns_sizes_and_its_own_report_and_nobody_else_does(up: World) -> None:
    job = up.job(study_text())
    found = up.work(job)
    document = align_results.sizes_of(up.nodes[BANK], found)
    report = document.pop("report")
    assert report["keys"] == 60
    assert document == {
        "job": job.name,
        "outcome": "size",
        "protocol": "masking",
        "attempts": 1,
        "common": COMMON,
        "parties": [{"organisation": BANK, "records": 60}, {"organisation": GOV, "records": 70}],
    }
    for name in (BANK, GOV):
        node, folder = up.nodes[name], align_results.path_of(up.nodes[name], job.name)
        assert json.loads((folder / "report.json").read_bytes())["keys"] == len(KEYS[name])
        assert not (folder / "rows.json").exists()
        assert not (node.path / "jobs" / job.name).exists()
    # The hub is told no size: what parties tell goes by it sealed, and another node can't open it.
    told = {each["organisation"]: bytes.fromhex(each["told"]) for each in found["told"]}
    assert set(told) == {BANK, GOV}
    assert b"records" not in told[BANK] + told[GOV]
    assert all("records" not in event and "common" not in event for event in job.read_events())
    with pytest.raises(FusionError):
        align_results.open_told(up.nodes[GOV], up.hub.roster(), job.name, GOV, told[GOV])
    assert ENGINE.look(up.hub, job.name, operator=GOV, start=0) is None


def test_parties_are_told_to_leave_where_what_the_hub_kept_is_damaged(up: World) -> None:
    job, left = up.job(study_text()), []
    (job.path / "sent.json").write_bytes(b"{")

    def before(name: str, request: Request) -> None:
        if request.kind == "leave":
            left.append((name, request.head["status"]))

    found = up.work(job, before)
    assert found["status"] == "failed"
    assert "sent.json" in found["message"]
    assert sorted(left) == [(BANK, "failed"), (GOV, "failed")]
    assert not (up.nodes[GOV].path / "jobs" / job.name).exists()


def test_what_a_party_told_is_its_own_word_about_this_alignment(up: World) -> None:
    node, roster, job = up.nodes[BANK], up.hub.roster(), "job-0123456789ab"
    told = Told(job=job, organisation=GOV, operator=BANK, records=70, common=None)
    key = roster.member(BANK).sealing_key
    good = align_results.tell(up.nodes[GOV], told, key)
    assert align_results.open_told(node, roster, job, GOV, good) == told
    forged = align_results.tell(up.nodes[TAX], told, key)
    with pytest.raises(VerificationFailed):
        align_results.open_told(node, roster, job, GOV, forged)
    with pytest.raises(FusionError):
        align_results.open_told(node, roster, "job-0123456789ac", GOV, good)
    with pytest.raises(FusionError):
        align_results.open_told(node, roster, job, BANK, good)
    with pytest.raises(FusionError):
        align_results.open_told(node, roster, job, GOV, good[:-1] + bytes(5000))


def test_what_a_party_told_has_one_length(up: World) -> None:
    """The hub hands it on: longer numbers would show it how much is common."""
    key = up.hub.roster().member(BANK).sealing_key
    long = "x" * 63
    lengths = {
        len(
            align_results.tell(
                up.nodes[GOV],
                Told(job="job-0123456789ab", organisation=org, operator=org, records=n, common=c),
                key,
            )
        )
        for org, n, c in (
            (GOV, 70, 5),
            (GOV, 70, None),
            (GOV, 70_000, 50_000),
            (long, 2**53 - 1, 0),
        )
    }
    assert len(lengths) == 1


def test_the_logs_of_both_have_the_same_commitments_and_pass_an_audit(
    up: World, tmp_path: Path
) -> None:
    Book(up.hub).see_roster()
    job = up.job(study_text()).name
    assert up.work(JobFolder(up.hub.runs / job))["status"] == "done"
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
    kinds = [each.kind for each in found[GOV]]
    said = ["order-taken", "vertical-agreed", "set-committed", "set-aligned", "job-ended"]
    assert [kind for kind in kinds if kind in said] == said
    bundles = [tmp_path / f"{name}.bundle" for name in ("hub", BANK, GOV)]
    Book(up.hub).export(bundles[0])
    for name, bundle in zip((BANK, GOV), bundles[1:], strict=True):
        Book(up.nodes[name]).export(bundle)
    audit_all(bundles, Expectations(witnessed=False))


def test_both_learn_which_rows_where_the_study_says_so(up: World) -> None:
    job = up.align(study_text(outcome="both"))["job"]
    for name in (BANK, GOV):
        path = align_results.path_of(up.nodes[name], job) / "rows.json"
        rows = json.loads(path.read_bytes())["rows"]
        assert {KEYS[name][row] for row in rows} == set(KEYS[BANK]) & set(KEYS[GOV])


def test_the_newest_alignments_alone_keep_their_files(
    up: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(align_results, "KEPT", 3)
    done = [up.align(study_text(outcome="both"))["job"] for _ in range(4)]
    node = up.nodes[BANK]
    there = [align_results.path_of(node, job).exists() for job in done]
    assert there == [False, True, True, True]
    assert len(list((node.path / "alignments").glob("job-*"))) == 3
    assert earlier_runs.earlier(node, GOV, besides="")


def test_three_parties_go_round_a_ring(up: World) -> None:
    assert up.align(study_text((BANK, GOV, TAX)))["common"] == COMMON_OF_ALL


def test_an_operator_that_is_no_party_learns_the_size(up: World) -> None:
    for owner in (GOV, TAX):
        up.grant(owner, operator=BANK)
    document = up.align(study_text((GOV, TAX)))
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
    with pytest.raises(StudyInvalid, match="orders no alignment"):
        ENGINE.order_terms(study_text(operator="hub"), "study.toml", "align")


def test_an_order_to_align_is_none_to_train_nor_for_another_study(up: World) -> None:
    party = up.parties[GOV]
    _, order = up.order(study_text())
    other = study_text(minimum_intersection=11)

    def prepare(text: str, document: bytes | None) -> str:
        head: dict[str, Any] = {
            "job": "job-00000000000a",
            "study": parse_study(text, "s").canonical().decode(),
        }
        if document is not None:
            head["order"] = document.decode()
        failure = party.handle(Request("prepare", head)).failure
        return "" if failure is None else failure.code

    assert prepare(other, order) == "G-53"
    assert prepare(study_text(), None) == "G-51"
    assert prepare(study_text(), order) == ""
    # The job is that study's from here on, and the order that job's.
    assert prepare(other, up.order(other)[1]) != ""
    assert (
        party.handle(Request("leave", {"job": "job-00000000000a", "status": "failed"})).failure
        is None
    )


def test_also_a_node_that_requires_no_grants_aligns_under_one_alone(up: World) -> None:
    node = up.nodes[GOV]
    free = NodeHome(node.path, node.config.model_copy(update={"require_grants": False}))
    with Connection(free) as connection:
        seat = vertical_seat_of(free, seat_of(free, lambda _: None), connection.conversations)
        assert seat.desk is None
        head = {
            "job": "job-00000000000e",
            "study": parse_study(study_text(set_size=1001), "s").canonical().decode(),
            "order": up.order(study_text(set_size=1001))[1].decode(),
        }
        failure = VerticalParty(seat).handle(Request("prepare", head)).failure
    assert failure is not None
    assert failure.code == "G-25"


def test_without_a_grant_of_its_own_a_party_refuses(up: World) -> None:
    with pytest.raises(PartyFailed) as caught:
        up.align(study_text((GOV, BANK), operator=GOV), operator=GOV)
    assert caught.value.code == "G-00"
    assert caught.value.message.startswith((GOV, BANK))


def test_a_set_that_differs_by_a_few_is_refused_and_the_same_is_not(up: World) -> None:
    up.align(study_text())
    up.table(BANK, KEYS[BANK][:-1])
    with pytest.raises(PartyFailed, match=BANK) as caught:
        up.align(study_text())
    up.table(BANK, KEYS[BANK])
    assert caught.value.code == "A-16"
    assert up.align(study_text())["common"] == COMMON
    runs = earlier_runs.earlier(up.nodes[BANK], GOV, besides="")
    assert {run.own for run in runs} == {60}
    # What was refused before a word of the peer came has no size of its set.
    assert {run.peer for run in runs} <= {0, 70}


def test_a_size_is_not_told_before_it_is_charged(up: World) -> None:
    """An operator could count a table, as often as it likes."""
    job = up.job(study_text(set_size=65))
    assert up.work(job)["code"] == "A-11"
    assert all("told" not in event for event in job.read_events())


def test_an_order_of_a_stranger_leaves_nothing(up: World) -> None:
    node = up.nodes[GOV]
    with Book(node) as book:
        size = book.ledger.size()
        with pytest.raises(PartyFailed, match=GOV) as caught:
            up.align(study_text((GOV, BANK), operator=TAX), operator=TAX)
        assert caught.value.code == "G-00"
        assert book.ledger.size() == size


def test_runs_at_a_time_are_held_to_each_other_and_a_job_to_its_set(up: World) -> None:
    node, limits = up.nodes[TAX], Limits(9, 5)

    def begin(job: str, keys: list[str]) -> bool:
        marks = controls.sketch(earlier_runs.secret_of(node), keys)
        run = Run(job, "text", len(keys), 0, "", marks)
        return earlier_runs.hold_to_earlier(node, ("other.example",), limits, run)

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
    with pytest.raises(PartyFailed, match=GOV) as caught:
        up.align(study_text() + f'grants = ["{tight}"]\n')
    assert caught.value.code == "A-15"


def test_a_revoked_grant_ends_it(up: World) -> None:
    name = up.grant(GOV, runs=49)
    grants.revoke(up.nodes[GOV], name, "over")
    with pytest.raises(PartyFailed, match=GOV) as caught:
        up.align(study_text() + f'grants = ["{name}"]\n')
    assert caught.value.code == "G-02"


def test_the_log_of_a_node_is_in_order(up: World) -> None:
    for name in (BANK, GOV):
        with Book(up.nodes[name]) as book:
            found = audit_whole(book.bundle(), Expectations(witnessed=False), ())
        assert found.orders
        assert found.decisions
