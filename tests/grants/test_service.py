"""The verbs over folders: who signs where, what is kept, what a node decides and charges."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from fusion.catalogue.descriptor import schema_digest
from fusion.errors import (
    FusionError,
    GrantInvalid,
    GrantRefused,
    InputInvalid,
    MemberRevoked,
    SignatureInvalid,
    VerificationFailed,
)
from fusion.grants.permit import Permit
from fusion.grants.reading import parse_grant
from fusion.grants.signing import Standing
from fusion.services import grants, rosters
from fusion.services.grants import GrantDesk
from fusion.services.homes import NodeHome, open_home
from fusion.services.ledger import Book
from fusion.wire import canonical
from tests.grants.grants import NOW, document, request_from
from tests.link.federation import admit, at_port, make_node, serving

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from pathlib import Path

    from fusion.grants.request import Request
    from fusion.services.grants import Home, Kept
    from fusion.services.homes import HubHome

SCHEMA = schema_digest({"region": "cell", "turnover": "cell", "overdue": "cell"})


@dataclass
class Watch:
    """A clock that stands until it is moved."""

    time: datetime = field(default=NOW)

    def now(self) -> datetime:
        return self.time

    def monotonic(self) -> float:
        return 0.0


def text(changes: Mapping[str, Any] | None = None) -> str:
    """Return the grant as a file."""
    return json.dumps(document({"/dataset/schema_digest": SCHEMA, **(changes or {})}))


def finalised(
    hub: HubHome, nodes: Mapping[str, NodeHome], changes: Mapping[str, Any] | None = None
) -> Kept:
    """Have everybody sign, and everybody know it."""
    homes: list[Home] = [nodes["tax"], nodes["customs"], nodes["bank"], hub]
    kept = grants.propose(homes[0], text(changes), "grant.yaml")
    for home in homes[1:]:
        kept = grants.sign(home, kept.signed.envelope)
    for home in homes:
        kept = grants.add(home, kept.signed.envelope)
    return grants.folder_of(nodes["tax"]).get(kept.signed.id)


def desk(node: NodeHome, watch: Watch | None = None) -> GrantDesk:
    """Return a node's desk."""
    return GrantDesk(
        node,
        roster=node.roster,
        clock=watch or Watch(),
        note=lambda _: None,
        book=Book(node),
    )


def asked(**changes: str | int) -> Request:
    """Return a request that the grant allows, with changes."""
    return request_from("train", {"schema_digest": SCHEMA, **changes})


def test_a_grant_goes_from_hand_to_hand_until_it_holds(
    hub: HubHome, nodes: Mapping[str, NodeHome]
) -> None:
    kept = grants.propose(nodes["bank"], text(), "grant.yaml")
    assert kept.standing is Standing.REQUESTED
    states = []
    for home in (nodes["tax"], nodes["customs"], hub):
        kept = grants.sign(home, kept.signed.envelope)
        states.append(kept.standing)
    assert states == [Standing.ACCEPTED, Standing.AGREED, Standing.FINALIZED]
    # The one who signed first learns of the rest from the file.
    assert grants.folder_of(nodes["bank"]).all()[0].standing is Standing.REQUESTED
    assert grants.add(nodes["bank"], kept.signed.envelope).standing is Standing.FINALIZED


def test_signing_again_changes_nothing(hub: HubHome, nodes: Mapping[str, NodeHome]) -> None:
    kept = finalised(hub, nodes)
    before = kept.path.read_bytes()
    assert grants.sign(nodes["tax"], before).standing is Standing.FINALIZED
    assert kept.path.read_bytes() == before


def test_an_old_copy_takes_no_signature_away(hub: HubHome, nodes: Mapping[str, NodeHome]) -> None:
    first = grants.propose(nodes["tax"], text(), "grant.yaml").signed.envelope
    finalised(hub, nodes)
    assert grants.add(nodes["tax"], first).standing is Standing.FINALIZED


def test_who_is_no_signer_neither_proposes_nor_signs(nodes: Mapping[str, NodeHome]) -> None:
    without = {
        "/assigners": ["tax"],
        "/signers": [
            {"role": "owner", "organisation": "tax"},
            {"role": "operator", "organisation": "bank"},
        ],
    }
    with pytest.raises(SignatureInvalid):
        grants.propose(nodes["customs"], text(without), "grant.yaml")
    kept = grants.propose(nodes["tax"], text(without), "grant.yaml")
    with pytest.raises(SignatureInvalid):
        grants.sign(nodes["customs"], kept.signed.envelope)
    # It may be kept for reading: signatures of others are what they are.
    assert grants.add(nodes["customs"], kept.signed.envelope).standing is Standing.OFFERED


def test_a_grant_that_names_a_stranger_is_not_kept(nodes: Mapping[str, NodeHome]) -> None:
    named = {
        "/assigners": ["statistics", "tax"],
        "/signers/0/organisation": "statistics",
    }
    with pytest.raises(VerificationFailed):
        grants.propose(nodes["tax"], text(named), "grant.yaml")
    assert grants.folder_of(nodes["tax"]).all() == []


def test_a_member_that_is_not_known_yet_is_asked_for(
    hub: HubHome, nodes: Mapping[str, NodeHome], tmp_path: Path
) -> None:
    """Admitted one after the other, the first knows nobody of those who came later."""
    late = make_node(hub, tmp_path / "late", "statistics")
    admit(hub, late)
    named = {"/assigners": ["statistics", "tax"], "/signers/0/organisation": "statistics"}
    with serving(hub, 1) as port:
        tax, bank = (at_port(nodes[name], port.port) for name in ("tax", "bank"))
        kept = grants.propose(tax, text(named), "grant.yaml")
        assert grants.sign(bank, kept.signed.envelope).standing is Standing.ACCEPTED
        full = grants.sign(late, kept.signed.envelope).signed.envelope
        assert grants.add(tax, full).signed.signed == {"statistics", "tax"}
    assert tax.roster() == hub.roster()


def test_a_file_that_was_exchanged_is_found(hub: HubHome, nodes: Mapping[str, NodeHome]) -> None:
    kept = finalised(hub, nodes)
    other = grants.propose(nodes["tax"], text({"/title": "Another"}), "grant.yaml")
    kept.path.write_bytes(other.path.read_bytes())
    with pytest.raises(VerificationFailed, match="another grant"):
        grants.folder_of(nodes["tax"]).all()
    kept.path.write_bytes(b"{}")
    with pytest.raises(VerificationFailed):
        grants.folder_of(nodes["tax"]).all()
    notes: list[str] = []
    left = grants.folder_of(nodes["tax"]).readable(notes.append)
    assert [each.signed.id for each in left] == [other.signed.id]
    assert len(notes) == 1


def test_a_name_has_to_lead_to_one_grant(hub: HubHome, nodes: Mapping[str, NodeHome]) -> None:
    kept = finalised(hub, nodes)
    folder = grants.folder_of(nodes["tax"])
    assert folder.get(kept.signed.id[:8]).signed.id == kept.signed.id
    for name in ("", kept.signed.id[:7], "0" * 8, "*" * 8, "../../etc"):
        with pytest.raises(InputInvalid):
            folder.get(name)


def test_a_folder_is_a_hub_or_a_node(hub: HubHome, tmp_path: Path) -> None:
    assert open_home(hub.path).path == hub.path
    with pytest.raises(InputInvalid):
        open_home(tmp_path / "nothing")


# -------------------------------------------------------------------------------- the desk


def test_a_permit_is_charged_before_any_work(hub: HubHome, nodes: Mapping[str, NodeHome]) -> None:
    kept = finalised(hub, nodes)
    here = desk(nodes["tax"])
    permit = here.admit(asked())
    assert isinstance(permit, Permit)
    assert permit.grant == kept.signed.id
    again = desk(nodes["tax"])
    assert again.admit(asked()).request.job == "job-1"
    for number in range(2, 6):
        again.admit(asked(job=f"job-{number}"))
    with pytest.raises(GrantRefused) as refused:
        again.admit(asked(job="job-6"))
    assert refused.value.code == "G-31"
    # The last job of all is still the same job when its party starts again.
    assert desk(nodes["tax"]).admit(asked(job="job-5")).request.job == "job-5"


def test_every_owner_counts_for_itself(hub: HubHome, nodes: Mapping[str, NodeHome]) -> None:
    finalised(hub, nodes, {"/permissions/train/runs": 1})
    desk(nodes["tax"]).admit(asked())
    with pytest.raises(GrantRefused):
        desk(nodes["tax"]).admit(asked(job="job-2"))
    desk(nodes["customs"]).admit(asked(job="job-2", party="customs"))


def test_what_was_given_up_is_given_back(hub: HubHome, nodes: Mapping[str, NodeHome]) -> None:
    finalised(hub, nodes, {"/permissions/train/runs": 1})
    here = desk(nodes["tax"])
    here.release(here.admit(asked()))
    permit = here.admit(asked(job="job-2"))
    here.commit(permit)
    with pytest.raises(GrantRefused):
        here.release(permit)


def test_a_grant_that_is_not_complete_permits_nothing(nodes: Mapping[str, NodeHome]) -> None:
    grants.propose(nodes["tax"], text(), "grant.yaml")
    with pytest.raises(GrantRefused) as refused:
        desk(nodes["tax"]).admit(asked())
    assert refused.value.code == "G-01"
    assert "bank" in refused.value.hint


def test_without_a_grant_nothing_is_permitted(nodes: Mapping[str, NodeHome]) -> None:
    with pytest.raises(GrantRefused) as refused:
        desk(nodes["tax"]).admit(asked())
    assert refused.value.code == "G-00"


def test_of_several_grants_the_one_that_fits_is_taken(
    hub: HubHome, nodes: Mapping[str, NodeHome]
) -> None:
    finalised(hub, nodes, {"/purpose": "dpv:PublicBenefit"})
    right = finalised(hub, nodes)
    finalised(hub, nodes, {"/permissions/train/rounds": 1, "/title": "Small"})
    assert desk(nodes["tax"]).admit(asked()).grant == right.signed.id
    # Where none fits, the refusal is of the one that needs the smallest change.
    with pytest.raises(GrantRefused) as refused:
        desk(nodes["tax"]).admit(asked(rounds=11))
    assert refused.value.code == "G-24"


def test_a_job_stays_with_the_grant_it_was_charged_to(
    hub: HubHome, nodes: Mapping[str, NodeHome]
) -> None:
    first = finalised(hub, nodes)
    desk(nodes["tax"]).admit(asked())

    def identity(title: str) -> str:
        return parse_grant(text({"/title": title}), "grant.json").id

    titles = (f"T{index}" for index in range(64))
    sooner = next(t for t in titles if identity(t) < first.signed.id)
    others = [finalised(hub, nodes, {"/title": title}) for title in (sooner, "Other")]
    assert any(other.signed.id < first.signed.id for other in others)
    assert desk(nodes["tax"]).admit(asked()).grant == first.signed.id
    grants.revoke(nodes["tax"], first.signed.id, "no longer needed")
    with pytest.raises(GrantRefused) as refused:
        desk(nodes["tax"]).admit(asked())
    assert refused.value.code == "G-02"


def test_a_table_that_changed_its_schema_is_no_longer_what_was_granted(
    hub: HubHome, nodes: Mapping[str, NodeHome], tmp_path: Path
) -> None:
    finalised(hub, nodes)
    table = tmp_path / "other.csv"
    table.write_text("region,turnover,overdue,owner\n", "utf-8")
    config = nodes["tax"].config.model_copy(update={"data": {"firms": table}})
    here = desk(NodeHome(nodes["tax"].path, config))
    with pytest.raises(GrantRefused) as refused:
        here.admit(asked(schema_digest=here.schema_digest("firms")))
    assert refused.value.code == "G-14"


# ----------------------------------------------------------------------------- revocations


@pytest.mark.parametrize("who", ["tax", "customs", "bank", "hub"])
def test_a_revocation_ends_it_wherever_it_is_taken_over(
    hub: HubHome, nodes: Mapping[str, NodeHome], who: str
) -> None:
    kept = finalised(hub, nodes)
    here = desk(nodes["tax"])
    permit = here.admit(asked())
    here.check(permit)
    home: Home = hub if who == "hub" else nodes[who]
    ended, data = grants.revoke(home, kept.signed.id, "no longer needed")
    assert ended.standing is Standing.TERMINATED
    assert grants.add(nodes["tax"], data).standing is Standing.TERMINATED
    for attempt in (lambda: here.check(permit), lambda: here.admit(asked(job="job-2"))):
        with pytest.raises(GrantRefused) as refused:
            attempt()
        assert refused.value.code == "G-02"
    # There is no way back: the grant's own file changes nothing.
    assert grants.add(nodes["tax"], kept.signed.envelope).standing is Standing.TERMINATED


def test_revoking_twice_is_once(hub: HubHome, nodes: Mapping[str, NodeHome]) -> None:
    kept = finalised(hub, nodes)
    grants.revoke(nodes["tax"], kept.signed.id, "first")
    file = nodes["tax"].grants / f"{kept.signed.id}.revocation.json"
    before = file.read_bytes()
    grants.revoke(nodes["tax"], kept.signed.id, "second")
    assert file.read_bytes() == before


@pytest.mark.parametrize("reason", ["", "x" * 201, "two\nlines"])
def test_a_revocation_gives_a_reason(
    hub: HubHome, nodes: Mapping[str, NodeHome], reason: str
) -> None:
    kept = finalised(hub, nodes)
    with pytest.raises(InputInvalid):
        grants.revoke(nodes["tax"], kept.signed.id, reason)


def test_a_revocation_of_something_unknown_is_refused(
    nodes: Mapping[str, NodeHome],
) -> None:
    kept = grants.propose(nodes["bank"], text(), "grant.yaml")
    _, data = grants.revoke(nodes["bank"], kept.signed.id, "no longer needed")
    with pytest.raises(InputInvalid):
        grants.add(nodes["tax"], data)


def test_work_ends_with_the_grant(hub: HubHome, nodes: Mapping[str, NodeHome]) -> None:
    finalised(hub, nodes)
    watch = Watch()
    here = desk(nodes["tax"], watch)
    permit = here.admit(asked())
    watch.time = permit.expires - timedelta(seconds=1)
    here.check(permit)
    watch.time = permit.expires
    with pytest.raises(GrantRefused) as refused:
        here.check(permit)
    assert refused.value.code == "G-04"


@pytest.mark.parametrize("who", ["bank", "tax"])
def test_work_ends_with_the_membership(
    hub: HubHome, nodes: Mapping[str, NodeHome], who: str
) -> None:
    """The operator was revoked, or the data owner itself."""
    finalised(hub, nodes)
    here = desk(nodes["tax"])
    permit = here.admit(asked())
    roster = rosters.revoke(hub, who, "left")
    here.check(permit)
    nodes["tax"].keep_epoch(roster, hub.roster_file.read_bytes())
    with pytest.raises(MemberRevoked, match="left"):
        here.check(permit)
    with pytest.raises(GrantRefused):
        here.admit(asked(job="job-2"))


# ---------------------------------------------------------------------------------- checks


def test_a_check_reserves_nothing(hub: HubHome, nodes: Mapping[str, NodeHome]) -> None:
    finalised(hub, nodes, {"/permissions/train/runs": 1})
    request = canonical.encode(asked().document()).decode()
    for home in (nodes["tax"], hub, nodes["tax"]):
        _, result = grants.check(home, request, "request.json", clock=Watch())
        assert isinstance(result, Permit)
    desk(nodes["tax"]).admit(asked(job="job-2"))
    _, result = grants.check(nodes["tax"], request, "request.json", clock=Watch())
    assert not isinstance(result, Permit)
    assert result.code == "G-31"
    # Away from the owner, its budget is not known.
    _, result = grants.check(hub, request, "request.json", clock=Watch())
    assert isinstance(result, Permit)


def test_a_check_names_the_line(nodes: Mapping[str, NodeHome]) -> None:
    with pytest.raises(GrantInvalid, match=r"request.yaml:1: `job` is missing"):
        grants.check(nodes["tax"], "assignee: bank\n", "request.yaml")


def test_a_schema_is_of_a_dataset_that_is_there(nodes: Mapping[str, NodeHome]) -> None:
    columns = grants.schema_of(nodes["tax"], "firms")
    assert schema_digest(columns) == SCHEMA
    with pytest.raises(FusionError):
        grants.schema_of(nodes["tax"], "people")
