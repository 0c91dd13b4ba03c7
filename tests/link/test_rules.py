"""The port's rules by themselves: ten calls of the fleet interface, with the member's own key."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusion.errors import MessageInvalid
from fusion.link import frames, rules
from fusion.link.rules import FLEET_CALLS, Refusal, permit_fleet


@dataclass(frozen=True)
class _Named:
    fleet_key: str


MEMBER = cast("Any", _Named("own key"))
GOOD = {"call": "pull-messages", "length": "3", "http-flwr-public-key": "own key"}


def _permit(**changed: str | None) -> rules.FleetCall:
    fields = {**GOOD, **{key.replace("_", "-"): value for key, value in changed.items()}}
    given_ = [(key, value) for key, value in fields.items() if value is not None]
    return permit_fleet(given_, MEMBER, 100)


@pytest.mark.parametrize("name", sorted(FLEET_CALLS))
def test_the_ten_calls_pass(name: str) -> None:
    found = _permit(call=name, http_content_type="application/x-protobuf")
    assert (found.name, found.length) == (name, 3)
    assert found.headers == {
        "flwr-public-key": "own key",
        "content-type": "application/x-protobuf",
    }


@pytest.mark.parametrize(
    ("rule", "changed"),
    [
        ("path", {"call": "register-node"}),
        ("path", {"call": "unregister-node"}),
        ("path", {"call": "../control/list-runs"}),
        ("path", {"call": "pull-messages/../../control/start-run"}),
        ("path", {"call": "pull-messages?x=/v1/control"}),
        ("path", {"call": "%70ull-messages"}),
        ("path", {"call": "PULL-MESSAGES"}),
        ("path", {"call": ""}),
        ("path", {"call": None}),
        ("length", {"length": None}),
        ("length", {"length": "-1"}),
        ("length", {"length": "3, 4"}),
        ("length", {"length": "9" * 13}),
        ("size", {"length": "101"}),
        ("headers", {"http_host": "elsewhere"}),
        ("headers", {"http_transfer_encoding": "chunked"}),
        ("headers", {"http_content_length": "7"}),
        ("headers", {"http_connection": "upgrade"}),
        ("headers", {"http_authorization": "Bearer"}),
        ("fleet-key", {"http_flwr_public_key": None}),
        ("fleet-key", {"http_flwr_public_key": "another's"}),
    ],
)
def test_everything_else_is_refused(rule: str, changed: dict[str, str | None]) -> None:
    with pytest.raises(Refusal) as refusal:
        _permit(**changed)
    assert refusal.value.rule == rule


def test_a_field_that_is_there_twice_is_refused() -> None:
    with pytest.raises(Refusal, match="twice"):
        permit_fleet([*GOOD.items(), ("call", "get-run")], MEMBER, 100)


def test_a_field_of_bytes_is_refused() -> None:
    with pytest.raises(Refusal, match="not text"):
        permit_fleet([*GOOD.items(), ("call-bin", b"")], MEMBER, 100)


@given(st.text(max_size=40))
def test_no_other_name_passes(name: str) -> None:
    if name in FLEET_CALLS:
        return
    with pytest.raises(Refusal):
        _permit(call=name)


FRAMES: list[frames.Frame] = [
    frames.Hello(),
    frames.Ring(bell="fleet"),
    frames.PickUp(token="0" * 32, caller="tax.example"),
]


@pytest.mark.parametrize("frame", FRAMES)
def test_frames_come_back(frame: frames.Frame) -> None:
    assert frames.from_bytes(frames.to_bytes(frame)) == frame


@given(st.binary(max_size=200))
def test_rubbish_is_no_frame(data: bytes) -> None:
    with pytest.raises(MessageInvalid):
        frames.from_bytes(data)


@pytest.mark.parametrize(
    "text",
    [
        '{"frame":"ring"}',
        '{"bell":"../x","frame":"ring"}',
        '{"bell":"fleet","frame":"ring","more":1}',
        '{"frame":"run","command":"x"}',
        '{"caller":"a","frame":"pick-up","token":"short"}',
        '{"frame":"hello","now":1}',
    ],
)
def test_a_frame_is_a_closed_document(text: str) -> None:
    with pytest.raises(MessageInvalid):
        frames.from_bytes(text.encode())
