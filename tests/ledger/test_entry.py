"""Entries: one sequence of bytes each, nothing but what the closed set has, never data."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, get_args

import pytest

from federated.protocols.secure_sum import add_verified
from fusion.errors import MessageInvalid
from fusion.ledger import alignment_entries, vertical_entries
from fusion.ledger import entry as entries
from fusion.ledger.entry import Entry, decode, encode, fields, opening_digest, stamp
from fusion.wire import canonical
from tests.ledger.made import AT, World, hexed

WORLD = World()
D = hexed("d")
SAMPLES: list[Entry] = [
    *WORLD.node_log("north", rounds=1),
    *WORLD.hub_log(rounds=1),
    entries.LogSeen(at=AT, organisation="east", log_key=D, witness_key=D),
    entries.KeyImported(at=AT, fingerprint=D, transcript=D, share=True),
    entries.OrderTaken(at=AT, job="j", study=D, operator="east", id=D[:32], order=D),
    entries.StudyRefused(at=AT, job="j", study=D, code="F-400"),
    entries.CheckpointSeen(at=AT, organisation="hub", size=3, root=D),
    entries.CheckpointStamped(at=AT, size=3, root=D, stamp=D),
    entries.GrantSeen(at=AT, grant=D, document=D, signers=("east",)),
    entries.GrantRevoked(at=AT, grant=D, organisation="east", revocation=D),
    entries.Decided(at=AT, grant=D, request=D, permit=True, code=""),
    entries.BudgetMoved(
        at=AT,
        grant=D,
        action="train",
        budget="epsilon-millionths",
        move="reserved",
        reservation=D,
        amount=2**53 - 1,
    ),
    entries.QueryAnswered(
        at=AT, organisation="east", reservation=D, statement=D, policy=D, result=D
    ),
    entries.PythonSubmitted(at=AT, organisation="east", job=D, script=D),
    entries.PythonJudged(
        at=AT, organisation="east", job=D, verdict=D, approved=True, checked=True, runs=3
    ),
    entries.PythonRun(at=AT, organisation="east", job=D, verdict=D, reservation=D),
    entries.PythonReleased(at=AT, job=D, reservation=D, result=D, checked=True),
    entries.ModelKept(at=AT, job="j", study=D, model=D, part=D, number=1),
    entries.ModelRevoked(at=AT, model=D),
    entries.ModelRevocationHeard(at=AT, model=D, organisation="east"),
    entries.AnswersPublished(at=AT, model=D, epoch=D, commitment=D, records=5),
    entries.ModelScored(at=AT, model=D, organisation="east", reservation=D, records=5),
    entries.ModelExported(at=AT, model=D, output="card", digest=D),
    vertical_entries.VerticalAgreed(
        at=AT, job="j", study=D, organisations=("east", "west"), order=""
    ),
    vertical_entries.RecordsAligned(
        at=AT,
        job="j",
        attempt=1,
        commitment=D,
        records=9,
        peers=("west",),
        peer_commitments=(D,),
        peer_records=(8,),
        common=7,
    ),
    vertical_entries.PartTrained(at=AT, job="j", attempt=1, steps=3, part=D),
    vertical_entries.VerticalStarted(at=AT, job="j", study=D, organisations=("east", "west")),
    vertical_entries.AttemptBegun(at=AT, job="j", attempt=1, step=0),
    alignment_entries.SetCommitted(
        at=AT,
        job="j",
        reservation=D,
        commitment=D,
        records=9,
        peers=("west",),
        peer_commitments=(D,),
        peer_records=(8,),
    ),
    alignment_entries.SetAligned(at=AT, job="j", reservation=D, learned="size", common=3),
]


def test_there_is_a_sample_of_every_kind() -> None:
    assert {type(sample) for sample in SAMPLES} == set(get_args(Entry))


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.kind)
def test_an_entry_is_read_as_it_was_written_in_canonical_json(sample: Entry) -> None:
    data = encode(sample)
    assert decode(data) == sample
    assert canonical.encode(sample.model_dump()) == data
    assert b"\n" not in data
    assert set(fields(sample)) == set(sample.model_dump()) - {"version", "kind", "at"}


def _text(**changes: Any) -> bytes:  # noqa: ANN401 - any JSON value
    content = {**json.loads(encode(SAMPLES[2])), **changes}
    kept = {name: value for name, value in content.items() if value is not None}
    return json.dumps(kept, sort_keys=True, separators=(",", ":")).encode()


GOOD = _text()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"null",
        b"nonsense",
        _text(version=2),
        _text(version=True),
        _text(version=1.0),
        _text(kind="something-else"),
        _text(kind=None),
        _text(study=None),
        _text(rows=[["a", "table"]]),
        _text(job="a sentence with data in it"),
        _text(job=""),
        _text(job="x" * 64),
        _text(study=D.upper()),
        _text(study=D + "\n"),
        _text(study=D[:-1]),
        _text(at="2026-01-01T00:00:00Z"),
        _text(at="2026-13-01T00:00:00.000Z"),
        _text(at="2026-01-01T24:00:00.000Z"),
        GOOD + b"\n",
        b" " + GOOD,
        GOOD.replace(b'"version":1', b'"version":1,"version":1'),
        GOOD.replace(b'"job":"job"', b'"job":"j\\u006fb"'),
        b'{"x":"' + b"x" * entries.MAX_ENTRY_BYTES + b'"}',
        b"\xff" + GOOD,
    ],
)
def test_what_is_no_entry_is_refused(data: bytes) -> None:
    with pytest.raises(MessageInvalid):
        decode(data)


def test_an_entry_has_a_limit() -> None:
    many = tuple(f"{'x' * 58}{number:04}" for number in range(1000))
    digests = tuple(hexed(name) for name in many)
    sample = entries.RoundSummed(
        at=AT, job="j", round=0, attempt=1, manifest=D, listing=D, opening=D,
        contributors=many, contributions=digests,
    )  # fmt: skip
    assert decode(encode(sample)) == sample
    too_many = sample.model_copy(update={"contributions": digests * 4})
    with pytest.raises(MessageInvalid, match="limit"):
        encode(too_many)


def test_times_are_utc_to_the_millisecond() -> None:
    moment = datetime(2026, 1, 2, 3, 4, 5, 678999, tzinfo=UTC)
    assert stamp(moment) == "2026-01-02T03:04:05.678Z"
    east = moment.astimezone(timezone(timedelta(hours=8)))
    assert stamp(east) == stamp(moment)


def test_the_opening_of_a_log_is_that_of_the_gate() -> None:
    assert "opening_digest" in add_verified.__code__.co_names
    assert opening_digest(b"m", b"l") != opening_digest(b"ml", b"")
