"""What a peer counted in one attempt of a run it counts in every other."""

from __future__ import annotations

import pytest

from federated.vertical.binding import Binding
from federated.vertical.keeping import BOUND, TABLE, TRIED, MemoryKeeping, States
from fusion.errors import DataInvalid, MessageInvalid


def test_what_is_bound_is_kept_with_the_job() -> None:
    keeping = MemoryKeeping()
    Binding(keeping).bind("a", "00", "a")
    again = Binding(keeping)
    again.bind("a", "00", "a")
    again.bind("b", "01", "b")
    with pytest.raises(MessageInvalid, match=r"^a counts other bins"):
        again.bind("a", "01", "a")


class Closed(MemoryKeeping):
    """Of which nothing opens, as on a disk with another key or changed bytes."""

    def get(self, name: str) -> bytes | None:
        del name
        return None


def test_what_is_kept_and_does_not_open_is_not_begun_anew() -> None:
    keeping = Closed()
    States(keeping).count(TRIED)
    States(keeping).hold_to("00")
    Binding(keeping).bind("a", "00", "a")
    with pytest.raises(DataInvalid, match=TRIED):
        States(keeping).count(TRIED)
    with pytest.raises(DataInvalid, match=TABLE):
        States(keeping).hold_to("01")
    with pytest.raises(DataInvalid, match=BOUND):
        Binding(keeping)


@pytest.mark.parametrize("kept", [b"", b"[", b"[]", b'{"a":1}'])
def test_what_is_bound_and_is_something_else_ends_by_name(kept: bytes) -> None:
    keeping = MemoryKeeping()
    keeping.put(BOUND, kept)
    with pytest.raises(DataInvalid, match="not well formed"):
        Binding(keeping)
