"""Invitation and trust document: believed because of a pin, and for nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusion.crypto.signing import SigningKey
from fusion.errors import FusionError, InputInvalid, MessageInvalid, VerificationFailed
from fusion.identity.keys import authority_pin
from fusion.identity.trust import Address, Invitation, Trust, open_trust, sign_trust
from fusion.wire import envelope

KEY = SigningKey.generate()
PIN = authority_pin(KEY.public)
TRUST = Trust(
    federation="city.example",
    name="融数",
    authority_key=KEY.public,
    ca_pem="-----BEGIN CERTIFICATE-----",
    address="hub.city.example:8443",
)
SIGNED = sign_trust(TRUST, KEY)


def test_a_trust_document_is_believed_under_its_pin() -> None:
    assert open_trust(SIGNED, PIN) == TRUST


def test_another_key_than_the_pinned_one_is_refused() -> None:
    impostor = SigningKey.generate()
    with pytest.raises(VerificationFailed, match="another key than the invitation"):
        open_trust(sign_trust(TRUST, impostor), PIN)


@given(st.integers(0, 8 * len(SIGNED) - 1))
def test_one_flipped_bit_is_found(bit: int) -> None:
    changed = bytearray(SIGNED)
    changed[bit // 8] ^= 1 << bit % 8
    with pytest.raises(FusionError):
        open_trust(bytes(changed), PIN)


@pytest.mark.parametrize("keyid", ["hub", "", "0" * 63])
def test_a_document_that_names_no_key_is_refused(keyid: str) -> None:
    data = envelope.sign({}, "application/vnd.fusion.trust/1+json", KEY, keyid)
    with pytest.raises(MessageInvalid):
        open_trust(data, PIN)


def test_a_signed_document_that_is_not_well_formed_is_refused() -> None:
    data = envelope.sign({}, "application/vnd.fusion.trust/1+json", KEY, KEY.public.hex)
    with pytest.raises(MessageInvalid, match="not well formed"):
        open_trust(data, PIN)


hosts = st.sampled_from(["hub.example", "127.0.0.1", "::1", "2001:db8::7", "a-b.c"])


@given(hosts, st.integers(0, 65535))
def test_an_invitation_survives_being_written_down(host: str, port: int) -> None:
    invitation = Invitation(Address(host, port), PIN)
    assert Invitation.parse(str(invitation)) == invitation
    assert Invitation.parse(f" {invitation}\n") == invitation
    assert Address.parse(str(invitation.address)) == invitation.address


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hub.example:8443",
        "https://hub.example:8443",
        f"http://hub.example:8443#{PIN}",
        f"https://hub.example#{PIN}",
        f"https://hub.example:8443/path#{PIN}",
        f"https://user@hub.example:8443#{PIN}",
        f"https://hub.example:99999#{PIN}",
        f"https://hub.example:8443#{PIN[:-1]}",
        f"https://hub.example:8443#{PIN.upper()}x",
        f"https://hub.example:8443?q#{PIN}",
    ],
    ids=range(11),  # the pin differs from run to run
)
def test_what_is_no_invitation_is_refused(text: str) -> None:
    with pytest.raises(InputInvalid):
        Invitation.parse(text)
