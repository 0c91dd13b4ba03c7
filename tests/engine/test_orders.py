"""No run without its operator's order: at every holder, before its grants are looked at."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from federated.cohort import InProcessCohort, Request
from federated.engine import ENGINE
from federated.jobs import JobFolder
from federated.study import parse_study
from federated.work import do_job
from fusion.errors import (
    HubRefused,
    InputInvalid,
    LedgerBroken,
    MessageInvalid,
    OrderRefused,
    StudyInvalid,
)
from fusion.grants.order import TYPE, WORDS, Code, open_order, sign_order
from fusion.ledger.verify import Expectations
from fusion.services import orders, rosters
from fusion.services.audit import audit_all
from fusion.services.clock import SystemClock
from fusion.services.ledger import Book
from fusion.services.orders import JOBS, ORDERS, OrderDesk
from fusion.stores.budgets import SqliteBudgets
from fusion.wire import canonical, envelope
from tests.engine.test_grants import GRANT, GRANTED, World, _failure, world
from tests.federation import NAMES, STUDY
from tests.link.federation import at_port, linked, serving

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime
    from pathlib import Path

    from federated.cohort import Answering, Cohort
    from fusion.crypto.signing import SigningKey
    from fusion.services.homes import HubHome, NodeHome
    from fusion.types import OrgId

__all__ = ["world"]
UNWITNESSED = Expectations(witnessed=False)
OTHER = GRANTED.replace("seed = 7", "seed = 8")


def signed(
    world: World,
    key: SigningKey | None = None,
    *,
    study: str = GRANTED,
    **changes: Any,  # noqa: ANN401 - as sign_order has them
) -> bytes:
    """Return east's order for a study, or what somebody makes of it."""
    terms = {
        "federation": world.hub.config.federation,
        "operator": "east",
        "study": parse_study(study, "study.toml").digest(),
        "key": key or world.nodes["east"].statement_key,
        "now": SystemClock().now(),
    }
    return sign_order(**{**terms, **changes})[1]


def _now(hours: float) -> datetime:
    return SystemClock().now() + timedelta(hours=hours)


def _without(world: World) -> bytes:
    """Whatever is no order, under the operator's own signature."""
    document = {"schema": "fusion.order/1", "operator": "east"}
    return envelope.sign(document, TYPE, world.nodes["east"].statement_key, "east")


FORGERIES: dict[str, tuple[Callable[[World], bytes], str]] = {
    "another member's": (
        lambda w: signed(w, w.nodes["west"].statement_key, operator="west"),
        "G-52",
    ),
    "the hub's": (lambda w: signed(w, w.hub.authority_key, operator="hub"), "G-52"),
    "made by the hub in its name": (lambda w: signed(w, w.hub.authority_key), "G-52"),
    "for another study": (lambda w: signed(w, study=OTHER), "G-53"),
    "for another federation": (lambda w: signed(w, federation="elsewhere"), "G-53"),
    "over": (lambda w: signed(w, now=_now(-25)), "G-54"),
    "of tomorrow": (lambda w: signed(w, now=_now(1)), "G-54"),
    "one byte changed": (lambda w: signed(w).replace(b'"sig":"', b'"sig":"A')[:-1], "F-503"),
    "no order": (_without, "F-503"),
}


@pytest.mark.parametrize("case", FORGERIES)
def test_every_holder_refuses_what_is_not_its_operators_order(world: World, case: str) -> None:
    make, code = FORGERIES[case]
    world.grant()
    order = make(world)
    for name in NAMES:
        assert _failure(world.set_up(world.party(name), order=order))[0] == code
        assert world.state_of(name, "job-1") == ""


def test_every_holder_refuses_without_an_order(world: World) -> None:
    world.grant()
    world.orders["job-1", GRANTED] = None
    for name in NAMES:
        code, message = _failure(world.set_up(world.party(name)))
        assert code == "G-51"
        assert "fusion train STUDY.toml --home NODE" in message
        assert world.state_of(name, "job-1") == ""


def test_holders_without_grants_ask_for_the_order_too(
    hub: HubHome, nodes: dict[str, NodeHome]
) -> None:
    open_world = World(hub, nodes, {})
    open_world.orders["job-1", GRANTED] = None
    assert _failure(open_world.set_up(open_world.party("north")))[0] == "G-51"
    assert open_world.set_up(open_world.party("north"), STUDY, job="job-2").failure is None
    order = signed(open_world)
    code, _ = _failure(open_world.set_up(open_world.party("north"), STUDY, "job-3", order))
    assert code == "F-503"


@pytest.mark.parametrize("restarted", [False, True])
def test_an_order_is_good_for_one_job_also_after_a_restart(
    world: World, *, restarted: bool
) -> None:
    world.grant()
    order = signed(world)
    party = world.party("north")
    assert world.set_up(party, order=order).failure is None
    again = world.party("north") if restarted else party
    assert _failure(world.set_up(again, job="job-2", order=order))[0] == "G-55"
    # Nor is another order good for the first.
    if restarted:
        assert _failure(world.set_up(again, order=signed(world)))[0] == "G-55"
    assert world.set_up(again, order=order).failure is None


def test_an_order_that_was_refused_for_a_grant_is_spent(world: World) -> None:
    order = signed(world)
    assert _failure(world.set_up(world.party("north"), order=order))[0] == "G-00"
    world.grant()
    assert _failure(world.set_up(world.party("north"), job="job-2", order=order))[0] == "G-55"
    assert world.set_up(world.party("north"), order=order).failure is None


def test_a_taken_order_is_good_for_no_other_study_of_its_job(world: World) -> None:
    """Whether the job was refused before it began, or has ended: the hub shows what it likes."""
    order, party = signed(world), world.party("north")
    assert _failure(world.set_up(party, order=order))[0] == "G-00"
    world.grant()
    assert _failure(world.set_up(party, OTHER, order=order))[0] == "G-53"
    assert world.set_up(party, order=order).failure is None
    head = {"job": "job-1", "status": "done"}
    assert party.handle(Request("close", head)).failure is None
    assert _failure(world.set_up(party, OTHER, order=order))[0] == "G-53"
    assert _failure(world.set_up(world.party("north"), OTHER, order=order))[0] == "G-53"


def test_the_order_of_a_revoked_operator_is_refused(world: World) -> None:
    world.grant()
    order = signed(world)
    rosters.revoke(world.hub, "east", reason="left")
    for name in ("north", "south"):
        node = world.nodes[name]
        node.keep_epoch(world.hub.roster(), world.hub.roster_file.read_bytes())
        assert _failure(world.set_up(world.party(name), order=order))[0] == "F-406"


def test_a_run_goes_on_after_its_order_is_over(world: World, monkeypatch: Any) -> None:  # noqa: ANN401
    """Set up again on the next day: the run that was ordered, not another."""
    world.grant()
    order = signed(world)
    assert world.set_up(world.party("north"), order=order).failure is None
    late = SystemClock().now() + timedelta(hours=30)
    monkeypatch.setattr(SystemClock, "now", lambda _: late)
    assert world.set_up(world.party("north"), order=order).failure is None
    assert _failure(world.set_up(world.party("south"), order=order))[0] == "G-54"


# ------------------------------------------------------------------------------ the logs


def test_the_logs_say_who_asked_for_what(world: World, tmp_path: Path) -> None:
    world.grant()
    for name in NAMES:
        Book(world.nodes[name]).see_roster()
    job, events = world.run()
    assert events[-1]["status"] == "done", events[-1]
    paths = [tmp_path / f"{name}.bundle" for name in NAMES]
    for name, path in zip(NAMES, paths, strict=True):
        Book(world.nodes[name]).export(path)
    for found in audit_all(paths, UNWITNESSED):
        (order,) = found.orders
        digest = parse_study(GRANTED, "study.toml").digest()
        assert (order["job"], order["operator"], order["study"]) == (job, "east", digest)


def test_an_order_shown_to_two_holders_for_two_jobs_is_found(world: World, tmp_path: Path) -> None:
    world.grant()
    order = signed(world)
    for name, job in (("north", "job-1"), ("south", "job-2")):
        assert world.set_up(world.party(name), job=job, order=order).failure is None
        Book(world.nodes[name]).export(tmp_path / f"{name}.bundle")
    paths = [tmp_path / "north.bundle", tmp_path / "south.bundle"]
    with pytest.raises(LedgerBroken, match="takes an order for job-2 that north took for job-1"):
        audit_all(paths, UNWITNESSED)


# ------------------------------------------------------------------------------ at the hub


@pytest.fixture
def up(world: World) -> World:
    """The hub looks as if it were up."""
    import os  # noqa: PLC0415 - only here

    world.hub.ready.write_text(json.dumps({"pid": os.getpid()}), "utf-8")
    return world


def test_the_hub_starts_nothing_without_the_operators_order(up: World) -> None:
    with pytest.raises(OrderRefused) as found:
        ENGINE.train(up.hub, GRANTED, "study.toml")
    assert (found.value.code, found.value.exit_code) == ("G-51", 4)
    assert "fusion order sign" in found.value.hint
    with pytest.raises(OrderRefused) as found:
        ENGINE.train(up.hub, GRANTED, "study.toml", signed(up, study=OTHER))
    assert found.value.code == "G-53"
    with pytest.raises(StudyInvalid, match="names no operator"):
        ENGINE.train(up.hub, STUDY, "study.toml", signed(up))
    assert list(up.hub.runs.glob("*")) == []


def test_an_order_in_a_file_starts_one_run(up: World) -> None:
    order, document = orders.sign(up.nodes["east"], GRANTED, "study.toml")
    job = ENGINE.train(up.hub, GRANTED, "study.toml", document)
    assert job == ENGINE.job_of(order)
    assert JobFolder(up.hub.runs / job).order() == document
    with pytest.raises(OrderRefused) as found:
        ENGINE.train(up.hub, GRANTED, "study.toml", document)
    assert found.value.code == "G-55"


def test_the_hub_orders_what_it_operates_itself(up: World) -> None:
    own = GRANTED.replace('operator = "east"', 'operator = "hub"')
    job = JobFolder(up.hub.runs / ENGINE.train(up.hub, own, "study.toml"))
    assert open_order(job.order() or b"", up.hub.roster(), "hub").operator == "hub"


def test_only_the_operator_signs(world: World) -> None:
    with pytest.raises(InputInvalid, match=r"names east as its operator.*at the node of east"):
        orders.sign(world.nodes["west"], GRANTED, "study.toml")
    with pytest.raises(InputInvalid, match="names no operator"):
        orders.sign(world.nodes["west"], STUDY, "study.toml")
    with pytest.raises(InputInvalid, match="1 to 720 hours"):
        orders.sign(world.nodes["east"], GRANTED, "study.toml", hours=721)


# ------------------------------------------------------------------------------ over the port


@dataclass
class _Worker:
    """Does at the hub what its ServerApp would do."""

    world: World

    def work(self, job: str) -> None:
        def make(keys: Mapping[OrgId, str]) -> Cohort:
            parties: dict[OrgId, Answering] = {name: self.world.party(name) for name in keys}
            return InProcessCohort(parties)

        folder = JobFolder(self.world.hub.runs / job)
        do_job(self.world.hub, folder, make, SystemClock(), lambda _: None)


def test_an_operator_orders_and_follows_over_the_port(up: World) -> None:
    up.grant()
    east = up.nodes["east"]
    with serving(up.hub, 1) as port, linked(port, east) as link:
        job = orders.hand_in(at_port(east, port.port), link, GRANTED, "a folder/study.toml")
        assert JobFolder(up.hub.runs / job).origin == "study.toml"
        worker = threading.Thread(target=_Worker(up).work, args=(job,))
        worker.start()
        events = list(orders.follow(link, job, stop=threading.Event()))
        worker.join()
        assert events == JobFolder(up.hub.runs / job).read_events()
        assert (events[-1]["event"], events[-1]["status"]) == ("end", "done")
        assert ENGINE.record(events) == ENGINE.result(up.hub, job)
        # Nobody else is shown it, and nobody hands in what another ordered.
        with linked(port, up.nodes["west"]) as other:
            assert other.read(f"{JOBS}/{job}/0", 1 << 20) is None
            packet = {
                "schema": "fusion.ordered-study/1",
                "origin": "study.toml",
                "study": GRANTED,
                "order": signed(up).decode(),
            }
            with pytest.raises(HubRefused, match="G-52"):
                other.hand_in(ORDERS, canonical.encode(packet))
        assert link.read(f"{JOBS}/../{job}/0", 1 << 20) is None
        assert link.read(f"{JOBS}/{job}/7", 1 << 20) is None  # no event begins there


def test_what_is_no_study_with_its_order_is_not_taken(up: World) -> None:
    desk, east = OrderDesk(up.hub), up.hub.roster().member("east")
    for data in (b"{}", b"[]", canonical.encode({"study": GRANTED})):
        with pytest.raises(MessageInvalid):
            desk.take(east, data)


# ------------------------------------------------------------------------------ words


def test_every_code_says_what_to_do_in_both_languages() -> None:
    assert set(WORDS) == set(Code)
    for said, advice in WORDS.values():
        for english, chinese in (said, advice):
            assert english.isascii()
            assert any("一" <= character <= "鿿" for character in chinese)


# ------------------------------------------------------------------------------ named grants


def _naming(*grants: str) -> str:
    named = ", ".join(f'"{each}"' for each in grants)
    return GRANTED.replace("purpose = ", f"grants = [{named}]\npurpose = ")


def test_holders_decide_only_under_the_grants_that_a_study_names(world: World) -> None:
    first, second = world.grant().signed.id, world.grant(title="The same again").signed.id
    for number, named in enumerate((first, second), 1):
        job = f"job-{number}"
        assert world.set_up(world.party("north"), _naming(named), job).failure is None
        charged = SqliteBudgets(world.nodes["north"].budgets)
        assert charged.charged_to(f"train/{job}/{_digest(_naming(named))}") == named
    assert world.set_up(world.party("north"), _naming(second, first), "job-3").failure is None


def test_a_holder_without_a_named_grant_refuses_though_it_has_another(world: World) -> None:
    world.grant()
    for name in NAMES:
        reply = world.set_up(world.party(name), _naming("ab" * 32))
        code, message = _failure(reply)
        assert code == "G-05"
        assert "fusion grant fetch" in message
        assert reply.failure is not None
        assert reply.failure.study_key == "study.grants"
        assert world.state_of(name, "job-1") == ""


def test_what_a_named_grant_does_not_allow_another_does_not_either(world: World) -> None:
    small = {"train": {**GRANT["permissions"]["train"], "rounds": 1}}
    named = world.grant(permissions=small).signed.id
    world.grant()
    assert _failure(world.set_up(world.party("north"), _naming(named)))[0] == "G-24"


def _digest(study: str) -> str:
    return parse_study(study, "study.toml").digest()


@pytest.mark.parametrize("grants", [[], ["ab" * 32] * 2, ["AB" * 32], ["ab"]])
def test_named_grants_are_ids_each_once(grants: list[str]) -> None:
    with pytest.raises(StudyInvalid):
        parse_study(_naming(*grants), "study.toml")


def test_a_study_without_named_grants_keeps_its_bytes() -> None:
    assert b"grants" not in parse_study(GRANTED, "study.toml").canonical()
    study = parse_study(_naming("ab" * 32), "study.toml")
    assert type(study).from_canonical(study.canonical()) == study
