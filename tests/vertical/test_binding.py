"""What a peer counted in one attempt of a run it counts in every other."""

from __future__ import annotations

import pytest

from federated.vertical.binding import Binding
from federated.vertical.keeping import MemoryKeeping
from fusion.errors import MessageInvalid


def test_what_is_bound_is_kept_with_the_job() -> None:
    keeping = MemoryKeeping()
    Binding(keeping).bind("a", "00", "a")
    again = Binding(keeping)
    again.bind("a", "00", "a")
    again.bind("b", "01", "b")
    with pytest.raises(MessageInvalid, match=r"^a counts other bins"):
        again.bind("a", "01", "a")
