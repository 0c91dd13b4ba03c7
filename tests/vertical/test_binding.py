"""All attempts of a run are over one set of each party, whatever a peer brings to the second."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from federated.vertical.binding import Binding
from federated.vertical.keeping import BOUND, MemoryKeeping
from fusion.errors import AlignmentBroken
from tests.conversing.network import network
from tests.vertical.studies import LABEL, Run, linear, study_text

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conversing.network import Network


def first_attempt(folder: Path, net: Network, names: tuple[str, ...]) -> Run:
    """Return a run whose first attempt has ended well."""
    run = Run(folder, study_text(linear(epochs=1), names, patience=2.0), net)
    run.begin(1)
    assert set(run.finish().values()) == {"done"}, run.standings()
    return run


@pytest.mark.parametrize("names", [("tax",), ("tax", "work")])
@pytest.mark.parametrize("who", [LABEL, "tax"])
def test_another_set_in_a_later_attempt_is_refused_by_name(
    tmp_path: Path, names: tuple[str, ...], who: str
) -> None:
    with network() as net:
        run = first_attempt(tmp_path, net, names)
        # It forgets what holds itself, but for its scalars, and brings a set with one record more.
        party = run.parties[who]
        kept = party.keeping.get(BOUND) or b""
        party.keeping = MemoryKeeping()
        party.keeping.put(BOUND, kept)
        lines = party.path.read_text("utf-8").splitlines()
        lines.append("P99999" + lines[1][lines[1].index(",") :])
        party.path.write_text("\n".join(lines) + "\n", "utf-8")
        run.again(who)
        run.begin(2)
        states = run.finish()
        others = {name: s["failure"] for name, s in run.standings().items() if name != who}
        assert set(states.values()) == {"failed"}
        final = [each for each in others.values() if each["kind"] == "final"]
        assert {each["code"] for each in final} == {"A-69"}
        assert all(f"({who})" in each["message"] for each in final)


@pytest.mark.parametrize("names", [("tax",), ("tax", "work")])
def test_the_same_sets_are_aligned_again_also_after_a_restart(
    tmp_path: Path, names: tuple[str, ...]
) -> None:
    with network() as net:
        run = first_attempt(tmp_path, net, names)
        run.again("tax")
        run.begin(2)
        assert set(run.finish().values()) == {"done"}, run.standings()
        for party in run.parties.values():
            first, second = party.aligned
            assert first == second


def test_what_is_bound_is_kept_and_wiped_with_the_job() -> None:
    keeping = MemoryKeeping()
    binding = Binding(keeping)
    scalar = binding.scalar("ring")
    binding.bind("ring", "a/1", "00", "a")
    again = Binding(keeping)
    assert again.scalar("ring").held == scalar.held
    assert again.scalar("pair-a").held != scalar.held
    scalar.wipe()  # the session's own copy
    assert any(again.scalar("ring").held)
    again.bind("ring", "a/1", "00", "a")
    again.bind("pair-a", "a/1", "01", "a")
    with pytest.raises(AlignmentBroken, match=r"earlier attempt of the run\. \(b\)") as error:
        again.bind("ring", "a/1", "01", "b")
    assert error.value.code == "A-69"
