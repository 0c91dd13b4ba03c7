"""How long is waited for an object that is still being uploaded: briefly, but not only a few times.

Flower's own numbers are 1, 2, 4, 8 ... seconds and seven tries.
"""

from __future__ import annotations

import pytest
from flwr.app import ConfigRecord
from flwr.proto.message_pb2 import ObjectTree
from flwr.supercore.inflatable import inflatable_utils
from flwr.supercore.inflatable.inflatable_object import get_object_id
from flwr.supercore.inflatable.inflatable_utils import ObjectPullError, ObjectUnavailableError

from federated.runtime.contents import pull_content
from federated.runtime.messages import RECORD
from federated.runtime.patience import PATIENCE, shorten
from fusion.errors import EnvironmentUnfit


class Upload:
    """Objects of which one comes only when it was asked for often enough."""

    def __init__(self, content: bytes, *, after: int) -> None:
        self.asked = 0
        self._content, self._after = content, after

    def pull(self, object_id: str) -> bytes:
        self.asked += 1
        if self.asked <= self._after:
            raise ObjectUnavailableError(object_id)
        return self._content


def test_flowers_own_pull_waits_for_a_late_object() -> None:
    shorten()
    upload = Upload(b"x", after=8)
    assert inflatable_utils.pull_objects(["a"], upload.pull) == {"a": b"x"}
    assert upload.asked == 9


def test_so_does_the_pull_of_a_message() -> None:
    record = ConfigRecord({RECORD: b"frame"})
    data = record.deflate()
    tree = ObjectTree(object_id=get_object_id(data))
    for _ in range(2):  # the dictionary of records, then the message
        tree = ObjectTree(object_id="above", children=[tree])
    upload = Upload(data, after=8)
    assert pull_content(tree, upload.pull, seconds=60.0)[RECORD] == record
    assert upload.asked == 9
    with pytest.raises(ObjectPullError):
        pull_content(tree, Upload(data, after=10**6).pull, seconds=0.1)


def test_the_pauses_add_up_to_less_than_one_of_flowers() -> None:
    pauses = [PATIENCE["initial_backoff"]]
    for _ in range(3):
        pauses.append(min(pauses[-1] * 2, PATIENCE["backoff_cap"]))
    assert sum(pauses) < 1.0


def test_only_what_takes_the_parameters_is_changed() -> None:
    def pull(*, initial_backoff: float = 1.0, backoff_cap: float = 10.0) -> None:
        del initial_backoff, backoff_cap

    def pull_by_place(initial_backoff: float = 1.0) -> None:
        del initial_backoff

    for function in (pull, pull_by_place):
        with pytest.raises(EnvironmentUnfit, match="max_tries_per_object"):
            shorten([function])
    assert pull.__kwdefaults__ == {"initial_backoff": 1.0, "backoff_cap": 10.0}
