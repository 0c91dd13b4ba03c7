"""Vertical studies under grants and orders, over real folders: permitted, refused, audited."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from federated.cohort import Request
from federated.engine import ENGINE
from federated.party import Party
from federated.reception import Reception
from federated.records import record
from federated.seats import seat_of
from federated.vertical import coordinator
from federated.vertical.study import parse_vertical
from fusion.errors import StudyInvalid
from fusion.ledger.verify import Expectations
from fusion.reports.training import render
from fusion.services import grants
from fusion.services.audit import audit_all
from fusion.services.homes import NodeHome
from fusion.services.ledger import Book
from fusion.services.models import kept_models
from fusion.services.run_basis import basis_of
from tests.conversing.network import network
from tests.engine.vertical_world import JOB, LABEL, OTHERS, World
from tests.vertical.studies import boosting, linear, scorecard, study_text, tables

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from federated.cohort import Reply
    from fusion.services.homes import HubHome
    from tests.conversing.network import Network

UNWITNESSED = Expectations(witnessed=False)


def made(hub: HubHome, nodes: dict[str, NodeHome], tmp_path: Path, net: Network) -> World:
    """Return nodes with a table each, which take part in nothing without a grant."""
    data = tables(tmp_path, OTHERS, label=LABEL)
    strict = {
        name: NodeHome(
            nodes[name].path,
            nodes[name].config.model_copy(
                update={"require_grants": True, "data": {"people": data[name]}}
            ),
        )
        for name in (LABEL, *OTHERS)
    }
    return World(hub, strict, net)


@pytest.fixture
def world(hub: HubHome, nodes: dict[str, NodeHome], tmp_path: Path) -> Iterator[World]:
    """What :func:`made` makes, in a network of its own."""
    with network() as net:
        found = made(hub, nodes, tmp_path, net)
        yield found
        for party in found.parties.values():
            party.close()


def _text(model: str, **changes: Any) -> str:  # noqa: ANN401 - as study_text has them
    return study_text(model, OTHERS, label=LABEL, **changes)


def _audited(world: World, folder: Path) -> None:
    """Export every log and have all audited together."""
    Book(world.hub).export(folder / "hub.bundle")
    for name, node in world.nodes.items():
        Book(node).export(folder / f"{name}.bundle")
    audit_all([folder / f"{name}.bundle" for name in ("hub", *world.nodes)], UNWITNESSED)


@pytest.mark.parametrize(
    "model",
    [boosting("dealer"), linear(), pytest.param(scorecard(), marks=pytest.mark.soak)],
)
def test_a_run_under_grants_gives_each_party_its_part(
    world: World, model: str, tmp_path: Path
) -> None:
    Book(world.hub).see_roster()
    for node in world.nodes.values():
        Book(node).see_roster()
    ids = {name: world.grant(name) for name in world.nodes}
    job, events = world.run(_text(model))
    assert events[-1]["status"] == "done", (events[-1], world.notes)
    found = record(events)
    assert found["quality"]["joint"]["test"] > found["quality"]["alone"]["test"]
    assert found["model_kept"]["steps"] == parse_vertical(_text(model), "s").model.steps
    models = {name: kept_models(node)[0] for name, node in world.nodes.items()}
    assert {each.id for each in models.values()} == {found["model_kept"]["model"]}
    for name, each in models.items():
        assert each.facts.own.grants == (ids[name],)
        assert each.part(world.nodes[name])
        assert world.charges(name) == {"align": "committed", "train": "committed"}
        assert not (world.nodes[name].path / "jobs" / job).exists()
    assert models[LABEL].facts.metrics["joint"] == found["quality"]["joint"]
    assert models[OTHERS[0]].facts.metrics == {}
    assert models[OTHERS[0]].facts.leakage is None
    leakage = models[LABEL].facts.leakage
    assert leakage is not None
    assert leakage["verdict"]["released"]
    _explained(world, found, ids)
    _audited(world, tmp_path)
    for name, node in world.nodes.items():
        kinds = [json.loads(entry)["kind"] for entry in _entries(node)]
        said = [kind for kind in kinds if kind in KINDS]
        assert said == list(KINDS), name
        assert any(f"job {job}: columns of " in note for note in world.notes[name])


def _explained(world: World, found: dict[str, Any], ids: dict[str, str]) -> None:
    """Look at what the report of a run says beside how good its model is."""
    sent = found["model_kept"]["sent"]
    assert set(sent) == set(world.nodes)
    assert all(each["aligning"] > 1000 and each["training"] > 1000 for each in sent.values())
    whole = basis_of(world.nodes[LABEL], found)
    assert {each["id"] for each in whole["grants"]} == set(ids.values())
    page = render({**found, **whole})
    for words in (
        "Under which grants", "What is known of the same people", "dpv:ServiceProvision",
        "2120-01-01T00:00:00Z", "What the model tells", "ordered by", "What left each party",
    ):  # fmt: skip
        assert words in page, words
    # Whoever is not the label party has no leak report, and is told who has it.
    other = basis_of(world.nodes[OTHERS[0]], found)
    assert other["leakage"] is None
    assert f"The leak report is with {LABEL}" in render({**found, **other})
    assert {each["id"] for each in basis_of(world.hub, found)["grants"]} == set(ids.values())


KINDS = ("vertical-agreed", "records-aligned", "part-trained", "model-kept", "job-ended")


def _entries(node: NodeHome) -> list[bytes]:
    ledger = Book(node).ledger
    return list(ledger.entries(0, ledger.size()))


REFUSED = {
    "no grant": ({}, "G-00"),
    "another model": ({"permissions__train__models": ["mlp"]}, "G-22"),
    "fewer trees": ({"permissions__train__rounds": 3}, "G-24"),
    "more parties": ({"permissions__train__k": 4}, "G-23"),
    "no alignment": ({"permissions__align": None}, "G-21"),
    "no training": ({"permissions__train": None}, "G-21"),
    "smaller sets": ({"permissions__align__set_size": 9999}, "G-25"),
    "a promise": ({"permissions__train__smallest_leaf": 20}, "G-41"),
    "more in common": ({"permissions__align__minimum_intersection": 21}, "G-29"),
    "another purpose": ({"purpose": "dpv:CreditChecking"}, "G-16"),
    "another column": ({"dataset__columns": ["id", "s0", "s1"]}, "G-15"),
    "no identifier": ({"dataset__columns": ["s0", "s1", "sword"]}, "G-15"),
}


@pytest.mark.parametrize(("changes", "code"), REFUSED.values(), ids=REFUSED)
def test_what_a_grant_does_not_allow_is_refused_before_a_row_is_read(
    world: World, changes: dict[str, Any], code: str
) -> None:
    if code != "G-00":
        world.grant("south", **changes)
    reply = world.prepare("south", _text(boosting("dealer")))
    assert reply.failure is not None
    assert reply.failure.code == code, reply.failure
    assert not any("keys of" in note for note in world.notes["south"])
    assert set(world.charges("south").values()) <= {"released"}


def test_a_refusal_ends_the_run_and_names_who_refuses(world: World) -> None:
    for name in (LABEL, "east"):
        world.grant(name)
    _, events = world.run(_text(linear()))
    assert (events[-1]["status"], events[-1]["code"], events[-1]["exit_code"]) == (
        "failed", "G-00", 4,
    )  # fmt: skip
    (refusal,) = [event for event in events if event["event"] == "refusal"]
    assert refusal["organisation"] == "south"


def test_a_set_that_differs_by_a_few_records_is_not_aligned_again(world: World) -> None:
    for name in world.nodes:
        world.grant(name)
    assert world.run(_text(linear(epochs=1)))[1][-1]["status"] == "done"
    path = world.nodes["south"].config.data["people"]
    path.write_text("\n".join(path.read_text("utf-8").splitlines()[:-3]) + "\n", "utf-8")
    _, events = world.run(_text(linear(epochs=2)))
    assert (events[-1]["code"], events[-1]["exit_code"]) == ("A-16", 4), events[-1]
    assert "south" in events[-1]["message"]


def test_a_grant_revoked_in_mid_run_ends_it(world: World) -> None:
    ids = {name: world.grant(name) for name in world.nodes}
    revoked: list[int] = []

    def revoke(name: str, request: Request) -> None:
        if name == "south" and request.kind == "look" and not revoked:
            standing = world.parties["south"].handle(request).head["standing"]
            if standing["step"] >= 2:
                grants.revoke(world.nodes["south"], ids["south"], "no longer needed")
                revoked.append(standing["step"])

    _, events = world.run(_text(boosting("dealer", trees=300)), before=revoke)
    assert revoked
    assert events[-1]["code"] == "G-02", events[-1]
    assert "south" in events[-1]["message"]
    assert all(not kept_models(node) for node in world.nodes.values())


def test_a_party_started_anew_goes_on_from_its_last_tree(world: World) -> None:
    for name in world.nodes:
        world.grant(name)
    killed: list[int] = []

    def kill(name: str, request: Request) -> None:
        if name == "east" and request.kind == "look" and not killed:
            standing = world.parties["east"].handle(request).head["standing"]
            if standing["step"] >= 3:
                killed.append(standing["step"])
                world.parties["east"].close()
                world.start("east")

    _, events = world.run(_text(boosting("dealer", trees=40)), before=kill)
    assert events[-1]["status"] == "done", events[-1]
    attempts = [event for event in events if event["event"] == "attempt"]
    assert len(attempts) == 2
    assert attempts[1]["step"] >= killed[0] - 1
    assert record(events)["quality"]["joint"]["train"] > 0.9


def test_a_run_that_is_stopped_leaves_nothing(world: World) -> None:
    for name in world.nodes:
        world.grant(name)
    job = world.job(_text(boosting("dealer", trees=300)))

    def stop(name: str, request: Request) -> None:
        if name == "south" and request.kind == "look":
            job.stop_wanted.touch()

    _, events = world.run("", before=stop, job=job)
    assert events[-1]["status"] == "stopped"
    assert all(not kept_models(node) for node in world.nodes.values())
    assert all(not (node.path / "jobs" / job.name).exists() for node in world.nodes.values())


class Killed(BaseException):
    """The run's process at the hub is gone."""


def test_a_run_whose_process_at_the_hub_was_lost_goes_on(world: World) -> None:
    for name in world.nodes:
        world.grant(name)
    job = world.job(_text(boosting("dealer", trees=30)))
    lost: list[int] = []

    def lose(name: str, request: Request) -> None:
        if name == "south" and request.kind == "look" and not lost:
            standing = world.parties["south"].handle(request).head["standing"]
            if standing["step"] >= 2:
                lost.append(standing["step"])
                raise Killed

    with pytest.raises(Killed):
        world.run("", before=lose, job=job)
    _, events = world.run("", job=job)
    assert events[-1]["status"] == "done", events[-1]
    assert record(events)["model_kept"]["steps"] == 30


def test_a_run_whose_process_was_lost_at_its_very_end_has_ended_well(world: World) -> None:
    """Parties that were told of the end agree to the job no more."""
    for name in world.nodes:
        world.grant(name)
    job = world.job(_text(linear(epochs=1)))
    told: list[str] = []

    def lose(name: str, request: Request) -> None:
        if request.kind == "leave":
            told.append(name)
            if len(told) == len(world.nodes):
                raise Killed

    with pytest.raises(Killed):
        world.run("", before=lose, job=job)
    _, events = world.run("", job=job)
    assert events[-1]["status"] == "done", events[-1]
    assert [event["event"] for event in events].count("start") == 1
    for name in world.nodes:
        assert len([e for e in _entries(world.nodes[name]) if b'"job-ended"' in e]) == 1


@pytest.mark.parametrize("told", [{"made": "soon"}, {"steps": -1}, {"parts": {}}, {"steps": "3"}])
def test_nonsense_that_the_hub_tells_of_the_model_is_named(
    world: World, told: dict[str, Any]
) -> None:
    for name in world.nodes:
        world.grant(name)

    def lie(name: str, request: Request) -> None:
        if request.kind == "finish" and name == "south":
            assert told.keys() <= request.head.keys()
            request.head.update(told)  # type: ignore[attr-defined]

    _, events = world.run(_text(linear(epochs=1)), before=lie)
    assert (events[-1]["status"], events[-1]["code"]) == ("failed", "F-503"), events[-1]


def test_who_does_not_answer_is_named(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coordinator, "SETUP_SECONDS", 0.2)
    for name in world.nodes:
        world.grant(name)

    def away(name: str, request: Request) -> None:
        del request
        if name == "east":
            raise TimeoutError

    _, events = world.run(_text(linear()), before=away)
    assert (events[-1]["code"], events[-1]["exit_code"]) == ("F-604", 6)
    assert "within 0.4 s" in events[-1]["message"]  # 10,000 records are read in 0.2 s
    assert "east did not answer" in events[-1]["message"]
    absent = [e["organisation"] for e in events if e.get("status") == "absent"]
    assert set(absent) == {"east"}


def test_a_party_that_says_nonsense_ends_the_run(world: World) -> None:
    for name in world.nodes:
        world.grant(name)

    class Liar:
        def handle(self, request: Request) -> Reply:
            reply = world.parties["east"].handle(request)
            standing = {**reply.head.get("standing", {}), "marks": [[0, 1]] * 65}
            return type(reply)(reply.organisation, {"standing": standing})

    def lie(name: str, request: Request) -> None:
        del request
        if name == "north":
            world.lies["east"] = Liar()

    _, events = world.run(_text(linear()), before=lie)
    assert events[-1]["status"] == "failed"
    assert "east" in events[-1]["message"]


def test_requests_go_to_whom_they_are_for(world: World) -> None:
    party = Party(seat_of(world.nodes["south"], lambda _: None))
    reception = Reception(party, world.start("south"))
    assert reception.handle(Request("hello")).failure is None
    unknown = reception.handle(Request("look", {"job": JOB})).failure
    assert unknown is not None
    assert unknown.code == "F-404"
    alone = Reception(party).handle(Request("look", {"job": JOB})).failure
    assert alone is not None
    assert (alone.code, "SuperNode" in alone.message) == ("F-300", True)


def test_a_study_with_a_stranger_is_refused_with_its_line(world: World) -> None:
    text = study_text(linear(), ("east", "mars"), label=LABEL)
    with pytest.raises(StudyInvalid, match=r"study.toml:\d+: mars was not admitted"):
        ENGINE.train(world.hub, text, "study.toml")
    assert ENGINE.order_terms(_text(linear()), "s")[0] == LABEL


UNFIT = {
    "no row of that class": ('"50K"', "text", "No row of the label"),
    "a label of words": ("1", "text", "holds words"),
    "a key twice": ('"yes"', "twice", "more than one row"),
    "no key": ('"yes"', "none", "no record"),
}


@pytest.mark.parametrize(("positive", "table", "said"), UNFIT.values(), ids=UNFIT)
def test_what_is_wrong_with_a_table_stays_with_its_owner(
    world: World, positive: str, table: str, said: str
) -> None:
    """Whoever writes the study could ask which values there are."""
    for name in world.nodes:
        world.grant(name)
    file = world.nodes[LABEL].config.data["people"]
    head, *rows = file.read_text("utf-8").splitlines()
    if table == "twice":
        rows.append(rows[0])
    elif table == "none":
        rows = ["," + row.split(",", 1)[1] for row in rows]
    file.write_text("\n".join([head, *rows]) + "\n", "utf-8")
    _, events = world.run(_text(boosting("dealer"), positive=positive))
    told = (
        f"The table of {LABEL} does not fit the study; its own log says more. "
        "The run was charged: whether a table fits is an answer, too."
    )
    (refusal,) = [each for each in events if each["event"] == "refusal"]
    assert (refusal["code"], refusal["message"]) == ("F-202", told)
    assert events[-1]["message"] == f"{LABEL}: {told}"
    assert said not in json.dumps(events)
    assert any(said in note for note in world.notes[LABEL])
    assert not any(said in note for name in OTHERS for note in world.notes[name])
    assert world.charges(LABEL) == {"align": "committed", "train": "committed"}


def test_what_is_wrong_with_rows_that_were_aligned_stays_with_their_owner(world: World) -> None:
    for name in world.nodes:
        world.grant(name)
    file = world.nodes[LABEL].config.data["people"]
    head, *rows = file.read_text("utf-8").splitlines()
    emptied = [row.rsplit(",", 1)[0] + ("," if at < 100 else ",yes") for at, row in enumerate(rows)]
    file.write_text("\n".join([head, *emptied]) + "\n", "utf-8")
    _, events = world.run(_text(boosting("dealer")))
    told = f"The table of {LABEL} does not fit the study; its own log says more."
    assert (events[-1]["code"], events[-1]["message"]) == ("F-202", f"{LABEL}: {told}")
    assert "value in every common row" not in json.dumps(events)
    assert any("value in every common row" in note for note in world.notes[LABEL])
    for name in OTHERS:
        assert not any("value in every common row" in note for note in world.notes[name])
