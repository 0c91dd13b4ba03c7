"""Where a grant stands: by who has signed it, and by who has revoked it."""

from __future__ import annotations

import pytest

from fusion.errors import MessageInvalid, SignatureInvalid, UnknownOrganisation
from fusion.grants import signing
from fusion.grants.signing import Standing
from fusion.wire import canonical, envelope
from tests.grants.grants import DOCUMENT, KEYS, NOW, ROSTER, grant_from, put, roster, signed_by

GRANT = grant_from(DOCUMENT)


@pytest.mark.parametrize(
    ("signers", "expected"),
    [
        (("bank",), Standing.REQUESTED),
        (("bank", "hub"), Standing.REQUESTED),
        (("tax",), Standing.OFFERED),
        (("customs", "tax"), Standing.OFFERED),
        (("hub",), Standing.OFFERED),
        (("customs", "hub", "tax"), Standing.OFFERED),
        (("bank", "tax"), Standing.ACCEPTED),
        (("bank", "customs", "hub"), Standing.ACCEPTED),
        (("bank", "customs", "tax"), Standing.AGREED),
        (("bank", "customs", "hub", "tax"), Standing.FINALIZED),
    ],
)
def test_a_grant_stands_where_its_signatures_put_it(
    signers: tuple[str, ...], expected: Standing
) -> None:
    signed = signed_by(GRANT, signers)
    assert signing.standing(signed, revoked=False) is expected
    assert signing.standing(signed, revoked=True) is Standing.TERMINATED
    assert set(signed.missing) == GRANT.required - set(signers)


def test_an_owner_that_operates_signs_once() -> None:
    both = put(
        DOCUMENT,
        {"/assignee": "tax", "/signers/2/organisation": "tax"},
    )
    grant = grant_from(both)
    assert grant.required == {"customs", "tax", "hub"}
    states = [
        (("tax",), Standing.REQUESTED),
        (("customs",), Standing.OFFERED),
        (("customs", "tax"), Standing.AGREED),
        (("customs", "hub", "tax"), Standing.FINALIZED),
    ]
    for signers, expected in states:
        assert signing.standing(signed_by(grant, signers), revoked=False) is expected


def test_the_order_of_signing_leaves_no_trace() -> None:
    one = signed_by(GRANT, ("bank", "tax", "customs", "hub"))
    other = signed_by(GRANT, ("hub", "customs", "tax", "bank"))
    assert one.envelope == other.envelope


def test_two_copies_are_put_together() -> None:
    here, there = signed_by(GRANT, ("bank", "tax")), signed_by(GRANT, ("customs", "hub", "tax"))
    both = signing.open_grant(signing.merged(here, there), ROSTER)
    assert both.missing == ()
    other = signed_by(grant_from(put(DOCUMENT, {"/title": "Another"})), ("bank",))
    with pytest.raises(MessageInvalid):
        signing.merged(here, other)


def test_nobody_signs_twice_or_uninvited() -> None:
    signed = signed_by(GRANT, ("bank",))
    with pytest.raises(SignatureInvalid, match="already"):
        signing.sign(signed.envelope, "bank", KEYS["bank"])
    with pytest.raises(SignatureInvalid, match="not one of the signers"):
        signing.sign(signed.envelope, "statistics", KEYS["statistics"])
    with pytest.raises(SignatureInvalid, match="not one of the signers"):
        signing.propose(GRANT, "statistics", KEYS["statistics"])


def test_another_ones_key_is_found() -> None:
    data = signing.sign(signed_by(GRANT, ("bank",)).envelope, "tax", KEYS["customs"])
    with pytest.raises(SignatureInvalid, match="does not verify"):
        signing.open_grant(data, ROSTER)


def test_a_signer_that_left_the_roster_is_unknown() -> None:
    complete = signed_by(GRANT)
    for names in (("bank", "customs", "statistics"), ("statistics",)):
        with pytest.raises(UnknownOrganisation):
            signing.open_grant(complete.envelope, roster(names))


def test_a_grant_names_members_before_they_sign() -> None:
    unsigned = signed_by(GRANT, ("bank",))
    with pytest.raises(UnknownOrganisation):
        signing.open_grant(unsigned.envelope, roster(("bank", "customs", "statistics")))


# ----------------------------------------------------------------------------- revocations


def _revocation(name: str, *, key: str | None = None, grant: str = "") -> bytes:
    document = {
        "schema": "fusion.revocation/1",
        "grant": grant or signed_by(GRANT).id,
        "organisation": name,
        "at": signing.stamp(NOW),
        "reason": "no longer needed",
    }
    return envelope.sign(document, signing.REVOCATION_TYPE, KEYS[key or name], key or name)


@pytest.mark.parametrize("name", ["bank", "customs", "hub", "tax"])
def test_any_signer_revokes(name: str) -> None:
    signed = signed_by(GRANT)
    now = signing.stamp(NOW)
    data = signing.revoke(signed, name, KEYS[name], reason="no longer needed", now=now)
    found = signing.open_revocation(data, ROSTER)
    signing.check_revokes(found, signed)
    assert (found.organisation, found.at) == (name, "2026-06-01T12:00:00Z")


def test_nobody_else_revokes() -> None:
    signed = signed_by(GRANT)
    with pytest.raises(SignatureInvalid):
        signing.revoke(signed, "statistics", KEYS["statistics"], reason="-", now="")
    other = signing.open_revocation(_revocation("statistics"), ROSTER)
    with pytest.raises(SignatureInvalid):
        signing.check_revokes(other, signed)
    with pytest.raises(SignatureInvalid, match="another signer"):
        signing.open_revocation(_revocation("tax", key="bank"), ROSTER)
    with pytest.raises(UnknownOrganisation):
        signing.open_revocation(_revocation("stranger"), ROSTER)


def test_a_revocation_is_of_one_grant() -> None:
    found = signing.open_revocation(_revocation("tax", grant="1" * 64), ROSTER)
    with pytest.raises(MessageInvalid, match="another grant"):
        signing.check_revokes(found, signed_by(GRANT))


def test_a_revocation_is_closed() -> None:
    document = {
        "schema": "fusion.revocation/1",
        "grant": "1" * 64,
        "organisation": "tax",
        "at": signing.stamp(NOW),
        "reason": "-",
        "until": "tomorrow",
    }
    data = envelope.sign(document, signing.REVOCATION_TYPE, KEYS["tax"], "tax")
    with pytest.raises(MessageInvalid):
        signing.open_revocation(data, ROSTER)
    grant = signed_by(GRANT).envelope
    with pytest.raises(MessageInvalid):
        signing.open_revocation(grant, ROSTER)
    with pytest.raises(MessageInvalid):
        signing.open_grant(canonical.encode({}), ROSTER)
