"""RR22 over conversations, with a confined process at each party: right, cut off, killed, lied to.

Of the stand-in here; of spu where its environment is named (``BANYAN_SPU_PYTHON``, soak).
"""

from __future__ import annotations

import random
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from fusion.alignment import messages
from fusion.alignment.session import Outcome
from fusion.engine_ports import Rr22Task
from fusion.errors import AlignmentBroken, AlignmentRefused, EnvironmentUnfit, PartyFailed
from sandbox import service_user
from sandbox.rr22 import frames
from sandbox.rr22.confined import Limits, start
from tests.alignment.parties import BANK, GOV
from tests.conversing.network import Cut, network
from tests.rr22.python import NAMED, with_spu
from tests.rr22.talking import NAMES, running

if TYPE_CHECKING:
    from tests.rr22.talking import Run

SPU = [pytest.mark.soak, with_spu]


@pytest.fixture(params=["stand-in", pytest.param("spu", marks=SPU)])
def chosen(request: pytest.FixtureRequest, python: Path) -> Path:
    """The stand-in's Python, or spu's."""
    return Path(NAMED) if request.param == "spu" else python


KEYS = {GOV: [f"k{at}" for at in range(9)], BANK: [f"k{at}" for at in range(5, 12)]}
FOUND = {GOV: Outcome(4, (5, 6, 7, 8)), BANK: Outcome(4, (0, 1, 2, 3))}


@pytest.mark.parametrize("outcome", ["one", "both"])
def test_what_is_common_is_found(chosen: Path, outcome: str) -> None:
    with network() as net, running(net, chosen, KEYS, outcome) as run:
        assert run.end() == {GOV: None, BANK: None}
        assert run.sessions[GOV].outcome() == FOUND[GOV]
        assert run.sessions[BANK].outcome() == (FOUND[BANK] if outcome == "both" else None)


def _random_sets(seed: int) -> dict[str, list[str]]:
    draw = random.Random(seed)  # noqa: S311 - a test
    universe = [f"id-{draw.getrandbits(60)}" for _ in range(draw.choice((1, 40, 3000)))]
    return {name: draw.sample(universe, draw.randint(1, len(universe))) for name in NAMES}


@pytest.mark.parametrize(
    "seed", [1, *(pytest.param(seed, marks=pytest.mark.soak) for seed in range(2, 9))]
)
def test_it_is_the_plain_intersection_on_random_sets(chosen: Path, seed: int) -> None:
    keys = _random_sets(seed)
    with network() as net, running(net, chosen, keys) as run:
        assert run.end() == {GOV: None, BANK: None}
        common = set(keys[GOV]) & set(keys[BANK])
        for name in NAMES:
            found = run.sessions[name].outcome()
            assert found is not None
            assert {keys[name][at] for at in found.keys or ()} == common
            assert found.size == len(common)


@pytest.mark.parametrize("outcome", ["one", pytest.param("both", marks=pytest.mark.soak)])
def test_sets_without_a_common_record(chosen: Path, outcome: str) -> None:
    keys = {GOV: ["a", "b"], BANK: ["c"]}
    with network() as net, running(net, chosen, keys, outcome) as run:
        assert run.end() == {GOV: None, BANK: None}
        assert run.sessions[GOV].outcome() == Outcome(0, ())


def test_sets_that_are_the_same(chosen: Path) -> None:
    keys = {name: [f"k{at}" for at in range(20)] for name in NAMES}
    with network() as net, running(net, chosen, keys) as run:
        assert run.end() == {GOV: None, BANK: None}
        assert run.sessions[BANK].outcome() == Outcome(20, tuple(range(20)))


def test_a_connection_that_breaks_heals(chosen: Path) -> None:
    cut = {3, 9, 14}
    count = 0

    def fault(_who: str, _to: str, data: bytes) -> bytes:
        nonlocal count
        count += 1
        if count in cut:
            raise Cut
        return data

    with network(fault) as net, running(net, chosen, KEYS) as run:
        assert run.end() == {GOV: None, BANK: None}
        assert run.sessions[BANK].outcome() == FOUND[BANK]
        assert net.connections > 1


@pytest.mark.parametrize("victim", NAMES)
def test_a_process_that_is_killed_ends_it_at_both_by_name(chosen: Path, victim: str) -> None:
    def kill(run: Run, name: str) -> None:
        if name == victim:
            run.kill(victim)

    with network() as net, running(net, chosen, KEYS, on_hello=kill) as run:
        errors = run.end()
        other = BANK if victim == GOV else GOV
        own, told = errors[victim], errors[other]
        assert isinstance(own, AlignmentRefused)
        assert own.code == "A-22"
        assert isinstance(told, PartyFailed)
        assert told.code == "A-22"
        assert victim in str(told)
        for session in run.sessions.values():
            with pytest.raises(AlignmentBroken):
                session.outcome()


@pytest.mark.parametrize("outcome", ["one", "both"])
def test_too_little_in_common_is_withheld(python: Path, outcome: str) -> None:
    with network() as net, running(net, python, KEYS, outcome, minimum_intersection=5) as run:
        errors = run.end()
        if outcome == "one":  # who helps is told nothing of it
            assert errors == {GOV: None, BANK: None}
            with pytest.raises(AlignmentRefused, match="Too few"):
                run.sessions[GOV].outcome()
            assert run.sessions[BANK].outcome() is None
        else:
            assert {getattr(error, "code", "") for error in errors.values()} == {"A-14"}


@pytest.mark.parametrize(
    "said",
    [
        b"no frame",
        frames.frame(frames.START),  # what the node alone says to its process
        frames.frame(frames.ITEMS, b"x" * 16),
        frames.frame(frames.DATA, b"x", stream=1),  # never opened
        frames.frame(frames.OPEN, stream=0),  # the other side's number
        frames.frame(frames.OPEN, stream=1) + frames.frame(frames.OPEN, stream=1),
        frames.frame(frames.OPEN, stream=1)[:-1],
    ],
)
def test_what_is_no_link_is_refused_before_the_process_sees_it(python: Path, said: bytes) -> None:
    """The second party's node is changed: its process is not asked."""

    def lie(run: Run, name: str) -> None:
        if name == BANK:
            run.sessions[BANK].link(said)

    with network() as net, running(net, python, KEYS, on_hello=lie) as run:
        errors = run.end()
    own, told = errors[GOV], errors[BANK]
    assert isinstance(own, AlignmentBroken)
    assert own.code == "A-69"
    assert isinstance(told, PartyFailed)
    assert told.code == "A-69"


@pytest.mark.parametrize("victim", [GOV, pytest.param(BANK, marks=pytest.mark.soak)])
def test_rubbish_inside_of_the_link_ends_by_name(chosen: Path, victim: str) -> None:
    """Frames are well formed; what they carry is not what the library sends."""

    def spoil(run: Run, name: str) -> None:
        if name == victim:
            process = run.processes[victim]
            collect = process.collect

            def spoiled() -> bytes:
                data = collect()
                made = b""
                for each in frames.Reader(frames.LINK).take(data):
                    payload = bytes(byte ^ 0xA5 for byte in each.payload)
                    made += frames.frame(each.kind, payload, each.stream)
                return made

            process.collect = spoiled  # type: ignore[method-assign]

    with network() as net, running(net, chosen, KEYS, on_hello=spoil) as run:
        for process in run.processes.values():
            process.wall_seconds = 20.0  # spu waits for what it can read
        errors = run.end(90)
        assert all(
            isinstance(error, (AlignmentRefused, AlignmentBroken, PartyFailed))
            for error in errors.values()
        ), errors
        for session in run.sessions.values():
            with pytest.raises(AlignmentBroken):
                session.outcome()


def test_a_peer_that_never_ends_has_no_more_time_than_the_run(python: Path) -> None:
    """The own process has its result, the peer's node goes on: nothing of it is taken for ever."""
    with network() as net, running(net, python, KEYS) as run:
        assert run.end() == {GOV: None, BANK: None}
        process = run.processes[GOV]
        process.deliver(b"")
        assert process.found() is not None
        process._until = time.monotonic() - 1
        for call in (lambda: process.deliver(b""), process.collect, process.found):
            with pytest.raises(AlignmentRefused) as refused:
                call()
            assert refused.value.code == "A-22"


def test_bytes_of_a_side_are_bounded_by_what_it_said_of_its_own_set() -> None:
    """RR22's store of keys takes 21.7 bytes of each: 200,000 that were not said do not fit."""
    own, peer = Limits.of(5_000_000, 1).link_bytes
    assert peer < 21.7 * 200_000 < own
    assert Limits.of(1, 5_000_000).link_bytes == (peer, own)


def test_threads_hold_descriptors_that_nobody_else_closes(python: Path) -> None:
    """The number of one that was closed could be another file's when a thread writes to it."""
    process = start(python, Rr22Task(0, BANK, b"x" * 16, 10), service_user.DEFAULT)
    try:
        process.wait_ready()
        outer = process._worker.process
        streams = (outer.stdin, outer.stdout, outer.stderr)
        assert {each.fileno() for each in streams if each is not None}.isdisjoint(process._own)
    finally:
        process.close()


def test_a_python_without_spu_is_named(tmp_path: Path, python: Path) -> None:
    task = Rr22Task(0, BANK, b"x" * 16, 10)
    empty = tmp_path / "bin" / "python"
    empty.parent.mkdir()
    empty.symlink_to(python.resolve())
    (tmp_path / "pyvenv.cfg").write_text(f"home = {python.resolve().parent}\n", "utf-8")
    process = start(empty, task, service_user.DEFAULT)
    with pytest.raises(EnvironmentUnfit, match="does not run spu"):
        process.wait_ready()
    process.close()
    for path in (tmp_path / "nothing", Path("python")):
        with pytest.raises(EnvironmentUnfit, match="no interpreter"):
            start(path, task, service_user.DEFAULT)


def test_a_message_of_the_link_fits_into_one_of_the_conversation(python: Path) -> None:
    keys = {name: [f"k{at}" for at in range(40_000)] for name in NAMES}
    sizes: list[int] = []

    def fault(_who: str, _to: str, data: bytes) -> bytes:
        sizes.append(len(data))
        return data

    with network(fault) as net, running(net, python, keys) as run:
        assert run.end() == {GOV: None, BANK: None}
    assert 1 << 16 < max(sizes) <= messages.MAX_MESSAGE_BYTES
