"""What a party kept of a run is something else: it says so by name, or begins without it."""

from __future__ import annotations

import copy
import time
from functools import cache
from typing import TYPE_CHECKING, Any

import pytest

from federated import seeds
from federated.frames import read_frame, write_frame
from federated.vertical.keeping import PART, ROWS, TABLE, TRIED, Mark
from fusion.errors import FusionError
from tests.conversing.network import network
from tests.vertical.studies import LABEL, Party, Run, boosting, linear, study_text

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MODELS = {"boosting": boosting("dealer", 3), "logistic": linear(epochs=3)}
NAMES = (LABEL, "tax")


class Finished:
    """What parties had kept at the end of a run, and the mark from which they could go on."""

    def __init__(self, folder: Path, model: str) -> None:
        with network() as net:
            run = Run(folder, study_text(model, ("tax",), patience=60.0), net, rows=120)
            run.begin(1)
            assert set(run.finish().values()) == {"done"}, run.standings()
            self.parties = run.parties
            self.start = max(mark for mark in run.marks() if mark.step < 3)
        assert self.start.step > 0

    def party(self, name: str) -> Party:
        """Return a party that has kept as much."""
        found = self.parties[name]
        return Party(name, found.study, found.path, keeping=copy.deepcopy(found.keeping))


@pytest.fixture(scope="module", params=MODELS)
def finished(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    return Finished(tmp_path_factory.mktemp("run"), MODELS[request.param])


def _frames(data: bytes) -> Iterator[bytes]:
    """Yield frames that open and do not hold what they should."""
    head, blobs = read_frame(data)
    for key, value in head.items():
        yield write_frame({k: v for k, v in head.items() if k != key}, blobs)
        others: tuple[Any, ...] = (None, -1, 2**40, "x", [], {}, [["x"]], {"widths": [10**9]})
        for other in others:
            yield write_frame({**head, key: other}, blobs)
        if isinstance(value, dict):
            for inner in value:
                for other in (None, -1, 2**40, "x", [None], ["x"]):
                    yield write_frame({**head, key: {**value, inner: other}}, blobs)
    for key, value in blobs.items():
        yield write_frame(head, {k: v for k, v in blobs.items() if k != key})
        for changed in (b"", value[:-1], value[8:], value + bytes(8), b"\xff" * len(value)):
            yield write_frame(head, {**blobs, key: changed})
    yield write_frame(head, {**blobs, "more": b""})


@cache
def _bytes(count: int) -> bytes:
    return seeds.generator("tests-checkpoints", count).bytes(count)


def _rubbish(data: bytes) -> Iterator[bytes | None]:
    yield from (None, b"", b"rubbish", data[: len(data) // 2], data + b"x", _bytes(len(data)))
    try:
        yield from _frames(data)
    except FusionError:
        return


def _ended(party: Party, start: Mark) -> dict[str, Any] | None:
    """Have a party go on from a mark; return its failure, or None if it waits for its peers."""
    with network() as net:
        job = party.job(net)
        try:
            job.begin(2, start)
            until = time.monotonic() + 100
            while job.standing()["state"] == "training" and job._talk is None:
                assert time.monotonic() < until, "it hangs"
                time.sleep(0.001)
            failure: dict[str, Any] | None = job.standing()["failure"]
        finally:
            job.end()
        return failure


@pytest.mark.parametrize("every", [45, pytest.param(1, marks=pytest.mark.soak)])
@pytest.mark.parametrize("name", NAMES)
def test_what_opens_and_is_no_state_is_named(finished: Finished, name: str, every: int) -> None:
    kept = finished.parties[name].keeping
    state = f"state-{finished.start.attempt}-{finished.start.step}"
    assert _ended(finished.party(name), finished.start) is None
    names = [each for each in (state, ROWS, TABLE, TRIED, "leaves-0") if each in kept.names()]
    refused = 0
    for each in names:
        for number, data in enumerate(_rubbish(kept.get(each) or b"")):
            if number % every:
                continue
            party = finished.party(name)
            party.keeping.drop(each) if data is None else party.keeping.put(each, data)
            try:
                failure = _ended(party, finished.start)
            except FusionError:
                refused += 1  # nothing is kept at that mark
                continue
            if failure is not None:
                assert failure["code"] != "F-000", (each, number, failure, party.notes)
                assert failure["kind"] == "final"
                refused += 1
    assert refused > 30 / every


@pytest.mark.parametrize("name", NAMES)
def test_a_part_that_is_none_is_as_good_as_not_there(finished: Finished, name: str) -> None:
    part = finished.parties[name].keeping.get(PART) or b""
    with network() as net:
        assert finished.party(name).job(net).part
        for data in _rubbish(part):
            party = finished.party(name)
            party.keeping.drop(PART) if data is None else party.keeping.put(PART, data)
            job = party.job(net)
            standing = job.standing()
            if standing["state"] != "done":
                assert job.part is None
                continue
            assert job.part


def test_a_count_that_is_none_ends_the_run(finished: Finished) -> None:
    """It could not be held to it any more."""
    party = finished.party("tax")
    party.keeping.put(TRIED, b"few")
    with network() as net:
        job = party.job(net)
        job.begin(2, None)
        while job.standing()["state"] == "aligning":
            time.sleep(0.001)
        assert job.standing()["failure"]["code"] == "F-202"
        job.end()
