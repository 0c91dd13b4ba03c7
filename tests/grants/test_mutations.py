"""No field, byte or signature of a grant can be changed, and no use of it is another than it says.

The cases are read off the models: a field that is added to the grant or to the request fails here
until somebody has said what it does.
"""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusion.errors import FusionError, MessageInvalid, SignatureInvalid, UnknownOrganisation
from fusion.grants import signing
from fusion.grants.document import Grant
from fusion.grants.permit import Permit
from fusion.grants.refusal import Refusal
from fusion.grants.request import Request
from fusion.wire import canonical, countersigned
from tests.grants.fields import at, fields_of, other, values_of
from tests.grants.grants import (
    DOCUMENT,
    KEYS,
    ROSTER,
    Case,
    grant_from,
    put,
    request_from,
    signed_by,
)

ENVELOPE = signed_by(grant_from(DOCUMENT)).envelope
PAYLOAD = canonical.encode(DOCUMENT)
VALUES = dict(values_of(DOCUMENT))

NOT_DECIDED = {
    "/title": "for people",
    "/product": "of the ledger and the settlement",
    "/fee/kind": "of the settlement",
    "/fee/currency": "of the settlement",
    "/fee/ceiling_cents": "of the settlement",
    "/duties/*[delete]/kind": "an obligation that is followed up elsewhere",
    "/duties/*[delete]/by": "an obligation",
    "/duties/*[pay]/kind": "an obligation",
    "/duties/*[pay]/by": "an obligation",
    "/duties/*[pay]/cents": "an obligation",
    "/duties/*[attribute]/kind": "an obligation",
    "/duties/*[attribute]/text": "an obligation",
    "/permissions/align/minimum_difference": "held against what the owner remembers of its runs",
    "/replaces": "for people",
}
"""Fields that are signed and that no decision looks at, and why."""

# A change of the grant, signed by all, after which the request of that action no longer passes.
DECIDED: dict[str, tuple[str, dict[str, Any], str]] = {
    "/assigners/*": (
        "train",
        {
            "/assigners": ["customs", "statistics"],
            "/signers/1/organisation": "statistics",
        },
        "G-11",
    ),
    "/assignee": (
        "train",
        {"/assignee": "statistics", "/signers/2/organisation": "statistics"},
        "G-12",
    ),
    "/dataset/id": ("train", {"/dataset/id": "people"}, "G-13"),
    "/dataset/columns/*": ("train", {"/dataset/columns": ["turnover", "region"]}, "G-15"),
    "/dataset/schema_digest": ("train", {"/dataset/schema_digest": "e" * 64}, "G-14"),
    "/permissions/train/models/*": ("train", {"/permissions/train/models": ["mlp"]}, "G-22"),
    "/permissions/train/k": ("train", {"/permissions/train/k": 4}, "G-23"),
    "/permissions/train/rounds": ("train", {"/permissions/train/rounds": 9}, "G-24"),
    "/permissions/train/runs": ("train", {"/permissions/train/runs": 1}, "G-31"),
    "/permissions/train/epsilon_micro": (
        "train",
        {"/permissions/train/epsilon_micro": 399_999},
        "G-32",
    ),
    "/permissions/train/membership_permille": (
        "train",
        {"/permissions/train/membership_permille": 99},
        "G-61",
    ),
    "/permissions/train/label_leak_permille": (
        "train",
        {"/permissions/train/label_leak_permille": 149},
        "G-62",
    ),
    "/permissions/train/smallest_leaf": (
        "train",
        {"/permissions/train/smallest_leaf": 21},
        "G-63",
    ),
    "/permissions/align/set_size": ("align", {"/permissions/align/set_size": 999}, "G-25"),
    "/permissions/align/outcomes/*": ("align", {"/permissions/align/outcomes": ["one"]}, "G-28"),
    "/permissions/align/minimum_intersection": (
        "align",
        {"/permissions/align/minimum_intersection": 51},
        "G-29",
    ),
    "/permissions/align/minimum_overlap_permille": (
        "align",
        {"/permissions/align/minimum_overlap_permille": 101},
        "G-30",
    ),
    "/permissions/align/runs": ("align", {"/permissions/align/runs": 1}, "G-31"),
    "/permissions/query/outputs/*": (
        "query",
        {"/permissions/query/outputs": ["statistic", "python"]},
        "G-26",
    ),
    "/permissions/query/rows": ("query", {"/permissions/query/rows": 9}, "G-33"),
    "/permissions/query/epsilon_micro": (
        "query",
        {"/permissions/query/epsilon_micro": 999},
        "G-32",
    ),
    "/permissions/query/runs": ("query", {"/permissions/query/runs": 1}, "G-31"),
    "/permissions/query/code/*": ("python", {"/permissions/query/code": ["a" * 64]}, "G-27"),
    "/permissions/score/rows": ("score", {"/permissions/score/rows": 99}, "G-33"),
    "/permissions/score/runs": ("score", {"/permissions/score/runs": 1}, "G-31"),
    "/permissions/score/only_models/*": (
        "score",
        {"/permissions/score/only_models": ["debit", "a" * 64]},
        "G-34",
    ),
    "/permissions/mock/rows": ("mock", {"/permissions/mock/rows": 49}, "G-33"),
    "/permissions/mock/epsilon_micro": ("mock", {"/permissions/mock/epsilon_micro": 9}, "G-32"),
    "/permissions/mock/runs": ("mock", {"/permissions/mock/runs": 1}, "G-31"),
    "/purpose": ("train", {"/purpose": "dpv:PublicBenefit"}, "G-16"),
    "/not_before": ("train", {"/not_before": "2026-06-01T12:00:01Z"}, "G-03"),
    "/not_after": ("train", {"/not_after": "2026-06-01T12:00:00Z"}, "G-04"),
}
# A change that can't be signed at all, and what says so.
IMPOSSIBLE = {
    "/schema": ({"/schema": "fusion.grant/2"}, "schema"),
    "/signers/*/role": ({"/signers/0/role": "operator"}, "signs as owner"),
    "/signers/*/organisation": ({"/signers/0/organisation": "bank"}, "signs as owner"),
}

# A request for something else than the grant says, and the code that refuses it.
OTHER_REQUESTS: dict[str, tuple[str, dict[str, Any], str]] = {
    "assignee": ("train", {"assignee": "statistics"}, "G-12"),
    "party": ("train", {"party": "statistics"}, "G-11"),
    "action": ("train", {"action": "score"}, "G-42"),
    "dataset": ("train", {"dataset": "people"}, "G-13"),
    "columns": ("train", {"columns": ["region", "owner"]}, "G-15"),
    "needed": ("train", {"needed": ["owner"]}, "G-15"),
    "schema_digest": ("train", {"schema_digest": "e" * 64}, "G-14"),
    "purpose": ("train", {"purpose": "dpv:PublicBenefit"}, "G-16"),
    "model": ("train", {"model": "mlp"}, "G-22"),
    "k": ("train", {"k": 2}, "G-23"),
    "rounds": ("train", {"rounds": 11}, "G-24"),
    "epsilon_micro": ("train", {"epsilon_micro": 2_000_001}, "G-32"),
    "membership_permille": ("train", {"membership_permille": 101}, "G-61"),
    "label_leak_permille": ("train", {"label_leak_permille": 201}, "G-62"),
    "smallest_leaf": ("train", {"smallest_leaf": 19}, "G-63"),
    "rows": ("query", {"rows": 101}, "G-33"),
    "set_size": ("align", {"set_size": 1001}, "G-25"),
    "outcome": ("align", {"outcome": "one"}, "G-28"),
    "minimum_intersection": ("align", {"minimum_intersection": 49}, "G-29"),
    "minimum_overlap_permille": ("align", {"minimum_overlap_permille": 99}, "G-30"),
    "output": ("query", {"output": "statistic"}, "G-26"),
    "code": ("query", {"output": "python", "code": "a" * 64}, "G-27"),
    "model_names": ("score", {"model_names": ["a" * 64, "b" * 64, "credit-2"]}, "G-34"),
    "grants": ("train", {"grants": ["a" * 64]}, "G-05"),
}
NAMES_ONLY = {"job", "study"}
"""Fields of a request that name it in the permit and in the budget, and limit nothing."""


def _opened(data: bytes) -> signing.SignedGrant:
    return signing.open_grant(data, ROSTER)


def _with_payload(payload: bytes) -> bytes:
    """Return the signed envelope around another payload."""
    document = json.loads(ENVELOPE)
    document["payload"] = base64.b64encode(payload).decode()
    return canonical.encode(document)


def _signed(payload: bytes) -> bytes:
    """Return any payload, signed by all, as no honest signer would."""
    found = countersigned.Countersigned(signing.TYPE, payload, {})
    for name in ("bank", "customs", "hub", "tax"):
        found = found.signed_by(name, KEYS[name])
    return found.to_bytes()


def _decide(action: str, grant: dict[str, Any], runs: int = 0) -> Permit | Refusal:
    python = {"output": "python", "code": "c" * 64}
    used = {"runs": runs}
    if action == "python":
        return Case("query", python, grant, used=used).decide()
    return Case(action, {}, grant, used=used).decide()


# -------------------------------------------------------------------- nothing is forgotten


def test_the_example_has_every_field_of_the_grant() -> None:
    assert set(VALUES.values()) == set(fields_of(Grant))


def test_every_field_of_the_grant_is_decided_on_or_said_not_to_be() -> None:
    sorts = [set(NOT_DECIDED), set(DECIDED), set(IMPOSSIBLE)]
    assert set().union(*sorts) == set(fields_of(Grant))
    assert sum(map(len, sorts)) == len(set(fields_of(Grant)))


def test_every_field_of_a_request_is_decided_on_or_said_not_to_be() -> None:
    assert set(OTHER_REQUESTS) | NAMES_ONLY == set(Request.model_fields)
    assert not set(OTHER_REQUESTS) & NAMES_ONLY


# ------------------------------------------------------------------------ bytes and fields


def test_the_grant_itself_is_good() -> None:
    assert _opened(ENVELOPE).missing == ()
    for action in ("train", "align", "query", "python", "score", "mock"):
        assert isinstance(_decide(action, {}), Permit)


@pytest.mark.parametrize("pointer", sorted(VALUES))
def test_a_changed_value_breaks_the_signatures(pointer: str) -> None:
    changed = put(DOCUMENT, {pointer: other(at(DOCUMENT, pointer))})
    with pytest.raises(SignatureInvalid):
        _opened(_with_payload(canonical.encode(changed)))


@given(st.integers(0, len(PAYLOAD) - 1), st.integers(1, 255))
def test_a_changed_byte_breaks_the_signatures(place: int, by: int) -> None:
    payload = bytearray(PAYLOAD)
    payload[place] ^= by
    with pytest.raises(SignatureInvalid):
        _opened(_with_payload(bytes(payload)))


@given(st.integers(0, len(ENVELOPE) - 1), st.integers(1, 255))
def test_a_changed_byte_of_the_envelope_is_found(place: int, by: int) -> None:
    data = bytearray(ENVELOPE)
    data[place] ^= by
    with pytest.raises(FusionError):
        _opened(bytes(data))


def _objects() -> list[str]:
    """Return the pointer of every object in the example."""
    return sorted({pointer.rpartition("/")[0] for pointer in VALUES if _in_object(pointer)})


def _in_object(pointer: str) -> bool:
    above = pointer.rpartition("/")[0]
    return isinstance(at(DOCUMENT, above) if above else DOCUMENT, dict)


@pytest.mark.parametrize("pointer", _objects())
def test_an_unknown_field_is_refused_though_signed_by_all(pointer: str) -> None:
    changed = put(DOCUMENT, {f"{pointer}/except_on_sundays": 1})
    with pytest.raises(MessageInvalid):
        _opened(_signed(canonical.encode(changed)))


@pytest.mark.parametrize("pointer", sorted(filter(_in_object, VALUES)))
def test_a_field_that_is_left_out_is_refused_though_signed_by_all(pointer: str) -> None:
    """Also one with a default: what is signed states it."""
    changed = json.loads(PAYLOAD)
    above, _, name = pointer.rpartition("/")
    del (at(changed, above) if above else changed)[name]
    with pytest.raises(MessageInvalid):
        _opened(_signed(canonical.encode(changed)))


@pytest.mark.parametrize("pointer", sorted(filter(_in_object, VALUES)))
def test_a_field_of_another_type_is_refused_though_signed_by_all(pointer: str) -> None:
    value = at(DOCUMENT, pointer)
    changed = put(DOCUMENT, {pointer: str(value) if isinstance(value, int) else [value]})
    with pytest.raises(MessageInvalid):
        _opened(_signed(canonical.encode(changed)))


def test_a_key_that_is_there_twice_is_refused_though_signed_by_all() -> None:
    payload = PAYLOAD.replace(b'"assignee":"bank"', b'"assignee":"bank","assignee":"tax"')
    with pytest.raises(MessageInvalid, match="twice"):
        _opened(_signed(payload))


# ------------------------------------------------------------------------------ signatures


@pytest.mark.parametrize("name", ["bank", "customs", "hub", "tax"])
def test_a_dropped_signature_is_missed(name: str) -> None:
    document = json.loads(ENVELOPE)
    document["signatures"] = [s for s in document["signatures"] if s["keyid"] != name]
    signed = _opened(canonical.encode(document))
    assert signed.missing == (name,)
    rest = tuple(sorted({"bank", "customs", "hub", "tax"} - {name}))
    refusal = Case(signers=rest).decide()
    assert isinstance(refusal, Refusal)
    assert refusal.code == "G-01"


@pytest.mark.parametrize("name", ["bank", "customs", "hub", "tax"])
def test_a_repeated_signature_is_refused(name: str) -> None:
    document = json.loads(ENVELOPE)
    again = next(s for s in document["signatures"] if s["keyid"] == name)
    document["signatures"].append(again)
    document["signatures"].sort(key=lambda s: s["keyid"])
    with pytest.raises(MessageInvalid, match="twice"):
        _opened(canonical.encode(document))


@pytest.mark.parametrize("name", ["bank", "customs", "hub", "tax"])
def test_one_signers_signature_does_not_count_for_another(name: str) -> None:
    document = json.loads(ENVELOPE)
    by = {s["keyid"]: s for s in document["signatures"]}
    donor = "bank" if name != "bank" else "tax"
    by[name]["sig"] = by[donor]["sig"]
    with pytest.raises(SignatureInvalid):
        _opened(canonical.encode(document))


def test_a_signature_by_somebody_unknown_is_refused() -> None:
    found = countersigned.parse(ENVELOPE, signing.TYPE)
    data = found.signed_by("stranger", KEYS["stranger"]).to_bytes()
    with pytest.raises(UnknownOrganisation):
        _opened(data)


def test_a_signature_by_a_member_that_the_grant_does_not_name_is_refused() -> None:
    found = countersigned.parse(ENVELOPE, signing.TYPE)
    data = found.signed_by("statistics", KEYS["statistics"]).to_bytes()
    with pytest.raises(SignatureInvalid, match="not one of the signers"):
        _opened(data)


def test_no_signature_at_all_is_refused() -> None:
    document = json.loads(ENVELOPE)
    document["signatures"] = []
    with pytest.raises(MessageInvalid):
        _opened(canonical.encode(document))


def test_signatures_over_another_type_are_refused() -> None:
    found = countersigned.Countersigned("application/vnd.fusion.other+json", PAYLOAD, {})
    for name in ("bank", "customs", "hub", "tax"):
        found = found.signed_by(name, KEYS[name])
    document = json.loads(found.to_bytes())
    with pytest.raises(MessageInvalid, match="type"):
        _opened(canonical.encode(document))
    document["payloadType"] = signing.TYPE
    with pytest.raises(SignatureInvalid):
        _opened(canonical.encode(document))


# ------------------------------------------------------------------------------------- use


@pytest.mark.parametrize("field", sorted(DECIDED))
def test_a_field_of_the_grant_does_what_it_says(field: str) -> None:
    action, changes, code = DECIDED[field]
    runs = 1 if code == "G-31" else 0
    assert isinstance(_decide(action, {}, runs), Permit) or action == "mock"
    refusal = _decide(action, changes, runs)
    assert isinstance(refusal, Refusal)
    assert [clause.code for clause in refusal.clauses] == [code]


@pytest.mark.parametrize("field", sorted(IMPOSSIBLE))
def test_a_field_that_contradicts_the_rest_is_refused_though_signed_by_all(field: str) -> None:
    changes, match = IMPOSSIBLE[field]
    with pytest.raises(MessageInvalid, match=match):
        _opened(_signed(canonical.encode(put(DOCUMENT, changes))))


@pytest.mark.parametrize("field", sorted(OTHER_REQUESTS))
def test_another_use_is_refused_with_its_code(field: str) -> None:
    action, changes, code = OTHER_REQUESTS[field]
    assert request_from(action, changes) != request_from(action)
    refusal = Case(action, changes).decide()
    assert isinstance(refusal, Refusal)
    assert refusal.code == code


@pytest.mark.parametrize("field", sorted(NAMES_ONLY))
def test_a_name_is_in_the_permit_and_changes_nothing(field: str) -> None:
    value = "another" if field == "job" else "f" * 64
    permit = Case("train", {field: value}).decide()
    assert isinstance(permit, Permit)
    assert getattr(permit.request, field) == value
