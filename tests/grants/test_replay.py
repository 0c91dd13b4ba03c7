"""What a log says of grants is what happened, and an auditor who decides again finds the rest."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from federated.evidence import Evidence
from fusion.errors import GrantRefused, LedgerBroken
from fusion.grants.order import open_order, sign_order
from fusion.grants.replay import replay
from fusion.ledger import bundle as bundles
from fusion.ledger import entry as entries
from fusion.ledger.entry import decode, encode
from fusion.ledger.verify import Expectations, audit
from fusion.services import grants
from fusion.services.audit import audit_all
from fusion.services.ledger import Book
from fusion.services.storage import open_rounds
from tests.grants.grants import NOW
from tests.grants.test_service import Watch, asked, desk, finalised, text

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from fusion.grants.request import Request
    from fusion.ledger.bundle import Bundle
    from fusion.ledger.entry import Entry
    from fusion.services.homes import HubHome, NodeHome

STUDY = "5d" * 32
UNWITNESSED = Expectations(witnessed=False)


def _refused(admit: Callable[[], object], code: str) -> None:
    with pytest.raises(GrantRefused) as found:
        admit()
    assert found.value.code == code


def _asked(job: str, **changes: str | int) -> Request:
    return asked(job=job, study=STUDY, **changes)


def _order(node: NodeHome, operator: NodeHome, job: str) -> None:
    """Have a node take an order for a job, as its party does before it decides."""
    name = operator.config.id
    _, data = sign_order(
        federation=node.roster().federation,
        operator=name,
        study=STUDY,
        key=operator.statement_key,
        now=NOW,
    )
    Evidence(open_rounds(node), Watch()).ordered(
        job, open_order(data, node.roster(), name), data, NOW
    )


@pytest.fixture
def book(hub: HubHome, nodes: Mapping[str, NodeHome]) -> Book:
    """The log of a node that saw everything that can happen under grants."""
    tax = nodes["tax"]
    here = desk(tax)
    _refused(lambda: here.admit(_asked("early")), "G-00")
    unsigned = grants.propose(tax, text({"/title": "Unsigned"}), "grant.yaml")
    _refused(lambda: here.admit(_asked("early")), "G-01")
    kept = finalised(hub, nodes, {"/permissions/train/runs": 2})
    for job in ("one", "two", "three"):
        _order(tax, nodes["bank"], job)
    here.commit(here.admit(_asked("one")))
    given_up = here.admit(_asked("two"))
    here.release(given_up)
    _refused(lambda: here.admit(_asked("two")), "F-405")
    here.admit(_asked("three"))
    _refused(lambda: here.admit(_asked("four")), "G-31")
    _refused(lambda: here.admit(_asked("four")), "G-31")
    desk(tax).admit(_asked("three"))  # the same again, after a restart
    _refused(lambda: here.admit(_asked("long", rounds=100)), "G-24")
    late = desk(tax, Watch(NOW + timedelta(days=40_000)))
    _refused(lambda: late.admit(_asked("late")), "G-04")
    grants.revoke(tax, kept.signed.id, "no longer needed")
    _refused(lambda: here.admit(_asked("one")), "G-02")
    assert unsigned.signed.id != kept.signed.id
    return Book(tax)


def _logged(bundle: Bundle) -> list[Entry]:
    return [decode(data) for data in bundle.entries]


def test_every_decision_and_move_is_logged_in_its_order(book: Book) -> None:
    about = [
        (e.kind, getattr(e, "code", "") or getattr(e, "move", ""))
        for e in _logged(book.bundle())
        # The grant counts epsilon as well, in entries of its own.
        if e.kind in {"grant-revoked", "decided"} or getattr(e, "budget", "") == "runs"
    ]
    assert about == [
        ("decided", "G-00"), ("decided", "G-01"),
        ("decided", ""), ("budget-moved", "reserved"), ("budget-moved", "committed"),
        ("decided", ""), ("budget-moved", "reserved"), ("budget-moved", "released"),
        ("decided", "F-405"),
        ("decided", ""), ("budget-moved", "reserved"),
        ("decided", "G-31"), ("decided", "G-24"), ("decided", "G-04"),
        ("grant-revoked", ""), ("decided", "G-02"),
    ]  # fmt: skip


def test_an_audit_makes_every_decision_again(book: Book, tmp_path: Path) -> None:
    book.export(tmp_path / "tax.bundle")
    (found,) = audit_all([tmp_path / "tax.bundle"], UNWITNESSED)
    decisions = found.decisions
    assert [d["job"] for d in decisions if d["permit"]] == ["one", "two", "three"]
    assert [d["code"] for d in decisions if not d["permit"]] == [
        "G-00", "G-01", "F-405", "G-31", "G-24", "G-04", "G-02",
    ]  # fmt: skip


def test_hub_and_nodes_log_the_grants_that_they_know(
    hub: HubHome, nodes: Mapping[str, NodeHome]
) -> None:
    kept = finalised(hub, nodes)
    _, revocation = grants.revoke(nodes["bank"], kept.signed.id, "no longer needed")
    grants.add(hub, revocation)
    for home, revoked in ((hub, 1), (nodes["bank"], 1), (nodes["customs"], 0)):
        logged = _logged(Book(home).bundle())
        seen = [e for e in logged if isinstance(e, entries.GrantSeen)]
        assert seen[-1].grant == kept.signed.id
        assert seen[-1].signers == ("bank", "customs", "hub", "tax")
        assert sum(isinstance(e, entries.GrantRevoked) for e in logged) == revoked


def test_a_desk_logs_what_a_crash_left_unsaid(hub: HubHome, nodes: Mapping[str, NodeHome]) -> None:
    """Killed between the file and the entry: the file counts, and is logged before a decision."""
    kept = finalised(hub, nodes)
    _, revocation = grants.revoke(nodes["bank"], kept.signed.id, "no longer needed")
    folder = grants.folder_of(nodes["tax"])
    folder.keep_revocation(revocation)
    _refused(lambda: desk(nodes["tax"]).admit(asked()), "G-02")
    bundle = Book(nodes["tax"]).bundle()
    logged = [e.kind for e in _logged(bundle) if e.kind != "roster-seen"]
    assert logged[-2:] == ["grant-revoked", "decided"]
    replay(bundle, [nodes["tax"].roster()])


# ------------------------------------------------------------------- an owner who rewrites


def _first(logged: list[Entry], kind: str, **fields: object) -> int:
    return next(
        number
        for number, e in enumerate(logged)
        if e.kind == kind and all(getattr(e, k) == v for k, v in fields.items())
    )


def _index(book: Book, logged: list[Entry], **parts: Any) -> int:  # noqa: ANN401
    """Return which entry is named when these are the log's; its owner signs whatever it likes."""
    bundle = replace(book.bundle(), entries=[encode(e) for e in logged], **parts)
    with pytest.raises(LedgerBroken) as found:
        replay(bundle, [book.home.roster()])
    return found.value.index


def _like(e: Entry, **changes: object) -> Entry:
    return e.model_copy(update=changes)


@pytest.mark.parametrize("code", ["G-00", "G-01", "G-31", "G-24", "G-04", "G-02"])
def test_a_refusal_made_into_a_permit_is_named(book: Book, code: str) -> None:
    logged = _logged(book.bundle())
    at = _first(logged, "decided", code=code)
    logged[at] = _like(logged[at], code="", permit=True)
    assert _index(book, logged) == at


def test_a_permit_made_into_a_refusal_is_named(book: Book) -> None:
    logged = _logged(book.bundle())
    at = _first(logged, "decided", permit=True)
    logged[at] = _like(logged[at], code="G-31", permit=False)
    assert _index(book, logged) == at


def test_a_refusal_with_another_code_is_named(book: Book) -> None:
    logged = _logged(book.bundle())
    at = _first(logged, "decided", code="G-24")
    logged[at] = _like(logged[at], code="G-22")
    assert _index(book, logged) == at


def test_a_permit_at_another_time_is_named(book: Book) -> None:
    logged = _logged(book.bundle())
    at = _first(logged, "decided", permit=True)
    logged[at] = _like(logged[at], at="2199-01-01T00:00:00.000Z")
    assert _index(book, logged) == at


def test_a_decision_under_a_grant_that_nothing_shows_is_named(book: Book) -> None:
    logged = _logged(book.bundle())
    permit = logged[_first(logged, "decided", permit=True)]
    assert isinstance(permit, entries.Decided)
    logged = [e for e in logged if getattr(e, "grant", "") != permit.grant or e.kind == "decided"]
    assert _index(book, logged) == _first(logged, "decided", grant=permit.grant)


def test_an_uncharged_permit_is_named(book: Book) -> None:
    logged = _logged(book.bundle())
    at = _first(logged, "budget-moved", move="reserved")
    del logged[at]
    # The other counter of the same charge is there; what comes then is too late.
    assert _index(book, logged) == at + 1


def test_a_charge_settled_in_two_ways_is_named(book: Book) -> None:
    logged = _logged(book.bundle())
    at = _first(logged, "budget-moved", move="released")
    logged[at] = _like(logged[at], move="committed")
    assert _index(book, logged) == at + 1


@pytest.mark.parametrize("change", [{"amount": 2}, {"budget": "rows"}, {"action": "query"}])
def test_a_charge_of_something_else_is_named(book: Book, change: dict[str, object]) -> None:
    logged = _logged(book.bundle())
    at = _first(logged, "budget-moved", move="reserved")
    logged[at] = _like(logged[at], **change)
    assert _index(book, logged) == at


def test_a_charge_that_no_permit_asked_for_is_named(book: Book) -> None:
    logged = _logged(book.bundle())
    at = _first(logged, "budget-moved", move="reserved")
    logged.insert(at + 1, _like(logged[at], reservation="0" * 64))
    assert _index(book, logged) == at + 1


def test_a_run_beyond_the_budget_is_named(book: Book) -> None:
    """Three runs of two: the third permit can't have been."""
    logged = _logged(book.bundle())
    for given_back in [n for n, e in enumerate(logged) if getattr(e, "move", "") == "released"]:
        logged[given_back] = _like(logged[given_back], move="committed")
    refused = _first(logged, "decided", code="F-405")
    del logged[refused]
    third = [n for n, e in enumerate(logged) if isinstance(e, entries.Decided) and e.permit][2]
    assert _index(book, logged) == third


def test_a_document_that_is_missing_or_changed_is_named(book: Book) -> None:
    bundle = book.bundle()
    logged = _logged(bundle)
    for kind, name in (
        ("decided", "request"),
        ("order-taken", "order"),
        ("grant-seen", "document"),
        ("grant-revoked", "revocation"),
    ):
        at = _first(logged, kind)
        digest = getattr(logged[at], name)
        rest = {k: v for k, v in bundle.attachments.items() if k != digest}
        assert _index(book, logged, attachments=rest) == at
        changed = {**rest, digest: bundle.attachments[digest].replace(b"t", b"T")}
        assert _index(book, logged, attachments=changed) == at


def test_a_document_in_place_of_another_is_named(book: Book) -> None:
    logged = _logged(book.bundle())
    seen = [n for n, e in enumerate(logged) if isinstance(e, entries.GrantSeen)]
    first, last = logged[seen[0]], logged[seen[-1]]
    assert isinstance(first, entries.GrantSeen)
    logged[seen[-1]] = _like(last, document=first.document)
    assert _index(book, logged) == seen[-1]
    logged[seen[-1]] = _like(last, signers=("bank",))
    assert _index(book, logged) == seen[-1]


def test_attachments_come_back_from_the_file_as_they_went(book: Book) -> None:
    bundle = book.bundle()
    again = bundles.read(list(bundles.lines_of(bundle)))
    assert again == replace(bundle, leaves=list(bundle.leaves))
    assert len(again.attachments) >= 8
    audit(again, UNWITNESSED)


# ------------------------------------------------------------------------------ orders


def test_an_audit_says_who_ordered_what(book: Book, tmp_path: Path) -> None:
    book.export(tmp_path / "tax.bundle")
    (found,) = audit_all([tmp_path / "tax.bundle"], UNWITNESSED)
    assert [(o["job"], o["operator"], o["study"]) for o in found.orders] == [
        (job, "bank", STUDY) for job in ("one", "two", "three")
    ]


def test_a_permit_that_nobody_ordered_is_named(book: Book) -> None:
    logged = _logged(book.bundle())
    del logged[_first(logged, "order-taken", job="one")]
    assert _index(book, logged) == _first(logged, "decided", permit=True)


@pytest.mark.parametrize("change", [{"job": "other"}, {"study": "e" * 64}, {"operator": "customs"}])
def test_an_order_made_into_another_is_named(book: Book, change: dict[str, object]) -> None:
    logged = _logged(book.bundle())
    at = _first(logged, "order-taken", job="one")
    logged[at] = _like(logged[at], **change)
    permit = _first(logged, "decided", permit=True)
    assert _index(book, logged) == (permit if "job" in change else at)


def test_an_order_that_its_operator_did_not_sign_is_named(book: Book, hub: HubHome) -> None:
    """An owner and a hub that agree later on who had asked."""
    bundle = book.bundle()
    logged = _logged(bundle)
    at = _first(logged, "order-taken", job="one")
    order, forged = sign_order(
        federation=bundle.federation, operator="bank", study=STUDY, key=hub.authority_key, now=NOW
    )
    digest = hashlib.sha256(forged).hexdigest()
    logged[at] = _like(logged[at], id=order, order=digest)
    attachments = {**bundle.attachments, digest: forged}
    assert _index(book, logged, attachments=attachments) == at


def test_an_order_that_was_over_is_named(book: Book) -> None:
    logged = _logged(book.bundle())
    at = _first(logged, "order-taken", job="one")
    logged[at] = _like(logged[at], at="2199-01-01T00:00:00.000Z")
    assert _index(book, logged) == at
