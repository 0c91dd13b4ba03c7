"""A vertical study from tables to parts, over conversations in memory."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from federated.protocols.vertical import pooled
from federated.protocols.vertical.binning import bin_columns
from federated.vertical.keeping import MOST, TRIED, Mark, MemoryKeeping, States
from federated.vertical.model_section import Boosting
from federated.vertical.parts import BoostingLabel, part_of
from federated.vertical.simulation import simulate
from federated.vertical.tables import coded
from fusion.errors import GrantRefused, Refused
from fusion.services.alignment import Column
from tests.conversing.network import Cut, Frozen, network
from tests.vertical.studies import LABEL, Run, boosting, linear, scorecard, study_text

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("names", [("tax",), ("tax", "work")])
@pytest.mark.parametrize("model", [boosting("dealer"), linear()])
def test_a_study_runs_to_its_end(tmp_path: Path, model: str, names: tuple[str, ...]) -> None:
    with network() as net:
        run = Run(tmp_path, study_text(model, names), net)
        run.begin(1)
        assert set(run.finish().values()) == {"done"}, run.standings()
        quality = run.standings()[LABEL]["quality"]
        assert quality["joint"]["test"] > quality["alone"]["test"]
        assert all(each["quality"] is None for n, each in run.standings().items() if n != LABEL)
        for name, party in run.parties.items():
            (aligned,) = party.aligned
            assert len(aligned.keys) == sum(run.standings()[name]["rows"])
            assert party.permission.begun
        assert len({tuple(p.aligned[0].keys) for p in run.parties.values()}) == 1


@pytest.mark.soak
@pytest.mark.parametrize(
    "model",
    [
        boosting("paillier", 3),
        linear(backend="paillier", epochs=5),
        scorecard(backend="paillier", epochs=5),
    ],
)
def test_a_study_without_a_dealer_goes_on_after_its_end(tmp_path: Path, model: str) -> None:
    with network() as net:
        run = Run(tmp_path, study_text(model, patience=60.0), net)
        run.begin(1)
        assert set(run.finish(200).values()) == {"done"}, run.standings()
        first = run.standings()[LABEL]["quality"]
        assert first["joint"]["test"] > first["alone"]["test"]
        start = next(mark for mark in run.marks() if mark.step)
        run.begin(2, start)
        assert set(run.finish(200).values()) == {"done"}, run.standings()
        again = run.standings()[LABEL]["quality"]
        assert again["joint"]["test"] == pytest.approx(first["joint"]["test"], abs=1e-3)


def _expected(run: Run, joined: Any) -> pooled.Pooled:  # noqa: ANN401 - tables
    model = run.study.model
    assert isinstance(model, Boosting)
    columns = [
        bin_columns(coded(table, joined.training), joined.training, model.bins)
        for table in joined.tables
    ]
    growth = model.growth(run.study.seed)
    return pooled.boost(columns, joined.labels, joined.training, growth)


def test_trees_are_those_of_the_simulation_and_of_the_pooled_table(tmp_path: Path) -> None:
    with network() as net:
        run = Run(tmp_path, study_text(boosting("dealer"), positive="1"), net, numbers=True)
        run.begin(1)
        assert set(run.finish().values()) == {"done"}, run.standings()
        quality = run.standings()[LABEL]["quality"]
        found = simulate(
            (LABEL, run.paths[LABEL]),
            [(name, run.paths[name]) for name in ("tax", "work")],
            identifier=Column("id", "text", "refuse"),
            label="over",
            model="boosting",
            options={
                "test_fraction": 0.25, "seed": 7, "backend": "plain", "trees": 4, "depth": 3,
                "bins": 8, "min_leaf": 10,
            },
        )  # fmt: skip
        assert quality["joint"] == found["auc"]
        assert quality["alone"] == found["auc_label_party_alone"]
        part = part_of(run.jobs[LABEL].part or b"")
        assert isinstance(part, BoostingLabel)
        leaves: list[dict[int, float]] = [{} for _ in range(part.trees)]
        for leaf in part.leaves:
            leaves[leaf.tree][leaf.node] = float.fromhex(leaf.weight)
        assert leaves == _expected(run, run.joined()).leaves


class Silenced:
    """A sender whose frames stop to arrive after so many, while it is on."""

    def __init__(self, sender: str, after: int) -> None:
        self.sender, self.left, self.on = sender, after, True

    def __call__(self, sender: str, peer: str, data: bytes) -> bytes:
        del peer
        if self.on and sender == self.sender and data[:1] == b"P":
            self.left -= 1
            if self.happened:
                raise Frozen
        return data

    @property
    def happened(self) -> bool:
        """Whether a frame has not arrived."""
        return self.on and self.left < 0


@pytest.mark.parametrize(("model", "frames"), [(boosting("dealer"), 25), (linear(), 40)])
def test_a_run_goes_on_from_the_newest_common_step(tmp_path: Path, model: str, frames: int) -> None:
    fault = Silenced("tax", frames)
    with network(fault) as net:
        run = Run(tmp_path, study_text(model), net)
        run.while_waiting = lambda: run.unheard("tax") if fault.happened else None
        run.begin(1)
        states = run.finish()
        assert states[LABEL] == "failed"
        failure = run.standings()[LABEL]["failure"]
        assert (failure["kind"], failure["exit_code"]) == ("again", 6)
        start = run.marks()[-1]
        assert start.step > 0
        fault.on = False
        run.while_waiting = lambda: None
        run.again("tax")  # killed: what is on disk is all that it has
        run.begin(2, start)
        assert set(run.finish().values()) == {"done"}, run.standings()
        joint = run.standings()[LABEL]["quality"]["joint"]
        assert all(len(party.aligned) == 1 for party in run.parties.values())
    with network() as net:
        other = Run(tmp_path, study_text(model), net)
        other.begin(1)
        other.finish()
        expected = other.standings()[LABEL]["quality"]["joint"]
        assert joint["test"] == pytest.approx(expected["test"], abs=1e-3)
        if isinstance(run.study.model, Boosting):
            assert joint == expected


@pytest.mark.parametrize(
    "frames", [1, 4, *(pytest.param(some, marks=pytest.mark.soak) for some in (0, 2, 3))]
)
def test_an_alignment_that_is_cut_off_goes_on(tmp_path: Path, frames: int) -> None:
    """In a ring of three, and in the sessions after it; whoever was not heard was killed."""
    fault = Silenced("tax", frames)
    with network(fault) as net:
        run = Run(tmp_path, study_text(linear(epochs=1)), net)
        run.while_waiting = lambda: run.unheard("tax") if fault.happened else None
        run.begin(1)
        states = run.finish()
        assert states[LABEL] == "failed"
        assert run.standings()[LABEL]["failure"]["kind"] == "again"
        assert run.marks() == []
        fault.on = False
        run.while_waiting = lambda: None
        scalars = {name: _begun(party.keeping) for name, party in run.parties.items()}
        assert all(scalars.values())
        run.again("tax")
        run.begin(2, None)
        assert set(run.finish().values()) == {"done"}, run.standings()
        for name, party in run.parties.items():
            # What was begun went on: the same secrets, and what was taken was not taken again.
            now = _begun(party.keeping)
            assert {each: now[each] for each in scalars[name]} == scalars[name]
            assert len(party.aligned[-1].keys) == sum(run.standings()[name]["rows"])
        assert len({tuple(party.aligned[-1].keys) for party in run.parties.values()}) == 1
        assert len({party.aligned[-1].commitment for party in run.parties.values()}) == 3


def _begun(keeping: MemoryKeeping) -> dict[str, bytes]:
    """Return the ring's state, what was taken in it, and the keys of sessions."""
    return {
        name: (keeping.get(name) or b"")[: 32 if name.startswith("align-with") else None]
        for name in keeping.names()
        if name.startswith("align-")
    }


def test_broken_connections_heal(tmp_path: Path) -> None:
    seen = 0

    def fault(sender: str, peer: str, data: bytes) -> bytes:
        nonlocal seen
        del sender, peer
        seen += 1
        if seen % 40 == 0:
            raise Cut
        return data

    with network(fault) as net:
        run = Run(tmp_path, study_text(boosting("dealer", trees=2)), net)
        run.begin(1)
        assert set(run.finish().values()) == {"done"}, run.standings()
    assert seen > 80


def test_rubbish_ends_a_run_by_name(tmp_path: Path) -> None:
    def fault(sender: str, peer: str, data: bytes) -> bytes:
        if sender == "tax" and b"BnV1" in data:
            return data[: data.index(b"BnV1")] + bytes(len(data) - data.index(b"BnV1"))
        del peer
        return data

    with network(fault) as net:
        run = Run(tmp_path, study_text(boosting("dealer")), net)
        run.begin(1)
        assert set(run.finish().values()) == {"failed"}
        first = [
            each["failure"]
            for each in run.standings().values()
            if "tax" in each["failure"]["message"]
        ]
        assert first
        assert not any(each["kind"] == "again" for each in first)
        assert all(job.part is None for job in run.jobs.values())


def test_a_revoked_permit_ends_a_run_within_a_second(tmp_path: Path) -> None:
    with network() as net:
        run = Run(tmp_path, study_text(boosting("dealer", trees=500)), net)
        run.begin(1)
        while run.standings()["work"]["step"] < 2:
            time.sleep(0.01)
        looked, watched = [], run.parties["work"].permission
        watched.error = GrantRefused("Revoked.", code="G-21")
        watched.on_error = lambda: looked.append(1)
        assert set(run.finish().values()) == {"failed"}
        # At the first look after it; there are several a second (tests/conversing).
        assert looked == [1]
        codes = {each["failure"]["code"] for each in run.standings().values()}
        assert codes == {"G-21"}
        kinds = sorted(each["failure"]["kind"] for each in run.standings().values())
        assert kinds == ["echo", "echo", "final"]


def test_a_model_that_tells_more_than_was_promised_is_kept_by_nobody(tmp_path: Path) -> None:
    promise = "\n[leakage]\nsmallest_leaf = 100\n"
    with network() as net:
        run = Run(tmp_path, study_text(boosting("dealer") + promise), net)
        run.begin(1)
        run.finish()
        failure = run.standings()[LABEL]["failure"]
        assert (failure["kind"], failure["exit_code"]) == ("final", 4)
        # The hub and the peers are told the limit, and no measure.
        assert failure["message"].startswith(
            "The model is not released, as a limit is not kept: smallest_leaf is 100 (L-03). What"
        )
        (note,) = [each for each in run.parties[LABEL].notes if "not released" in each]
        assert "where smallest_leaf is 100" in note
        assert "would pass" in note
        assert run.jobs[LABEL].part is None


def test_a_changed_table_is_found_out_and_marks_are_strict(tmp_path: Path) -> None:
    with network() as net:
        run = Run(tmp_path, study_text(linear(epochs=2)), net)
        run.begin(1)
        run.finish()
        job = run.jobs["tax"]
        part = job.part
        run.again("tax")  # a finished part is found again
        assert run.jobs["tax"].part == part
        assert run.states()["tax"] == "done"
        with pytest.raises(Refused, match="Nothing is kept"):
            run.jobs["tax"].begin(2, Mark(7, 1))
        lines = run.paths["tax"].read_text().splitlines()
        run.paths["tax"].write_text("\n".join([lines[0], *lines[:0:-1]]) + "\n")
        run.again("tax")
        run.jobs["tax"].begin(2, Mark(0, 1))
        while run.states()["tax"] == "training":
            time.sleep(0.01)
        assert run.standings()["tax"]["failure"]["message"] == (
            "The table of tax does not fit the study; its own log says more."
        )
        assert any("changed" in note for note in run.parties["tax"].notes)
        # Nor is it aligned anew: the run was charged for, and held to, one table.
        run.jobs["tax"].begin(3, None)
        while run.states()["tax"] == "aligning":
            time.sleep(0.01)
        assert run.standings()["tax"]["failure"]["code"] == "F-202"
        assert sum("changed" in note for note in run.parties["tax"].notes) == 2
        run.jobs["tax"].close()
        assert run.parties["tax"].keeping.names() == []
        assert run.parties["tax"].permission.given_up == 1


def test_a_feature_party_holds_its_own_columns_to_the_promised_support(tmp_path: Path) -> None:
    """Nobody else could: the label party sees none of its columns."""
    with network() as net:
        text = study_text(linear(epochs=1), ("tax",)) + "\n[leakage]\nsmallest_leaf = 20\n"
        run = Run(tmp_path, text, net)
        lines = run.paths["tax"].read_text("utf-8").splitlines()
        lines[1:4] = [line.rsplit(",", 1)[0] + ",rare" for line in lines[1:4]]
        run.paths["tax"].write_text("\n".join(lines) + "\n", "utf-8")
        run.again("tax")
        run.while_waiting = run.unheard_when_failed("tax")
        run.begin(1)
        assert set(run.finish().values()) == {"failed"}
        failure = run.standings()["tax"]["failure"]
        assert (failure["code"], failure["kind"]) == ("L-03", "final")
        assert run.jobs["tax"].part is None
        assert run.jobs[LABEL].part is None


def test_a_run_is_tried_so_often_and_no_more() -> None:
    states = States(MemoryKeeping())
    for _ in range(MOST[TRIED]):
        states.count(TRIED)
        states.aligned(1, b"")
    with pytest.raises(Refused, match="tried 24 times"):
        states.count(TRIED)


def test_records_are_aligned_once_under_one_charge(tmp_path: Path) -> None:
    """A label party that begins attempt after attempt could bring another set to each."""
    with network() as net:
        run = Run(tmp_path, study_text(linear(epochs=1)), net)
        run.begin(1)
        assert set(run.finish().values()) == {"done"}, run.standings()
        begun = {name for name in run.parties["tax"].keeping.names() if name.startswith("align-")}
        assert len(begun) > 2
        run.begin(2, run.marks()[0])
        assert set(run.finish().values()) == {"done"}, run.standings()
        # From here on nobody needs what the alignment could go on from.
        assert not begun & set(run.parties["tax"].keeping.names())
        run.jobs["tax"].begin(3, None)
        while run.states()["tax"] == "aligning":
            time.sleep(0.01)
        failure = run.standings()["tax"]["failure"]
        assert "aligned before" in failure["message"]
        assert failure["kind"] == "final"
