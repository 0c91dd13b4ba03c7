"""What a machine keeps after each tree or epoch, so that it goes on from there after a crash.

Plain bytes: whoever stores them seals them, since scores and shares are in them. A machine that
goes on draws everything secret anew (keys, masks, permutations, seeds), so that nothing that was
sent before and nothing that is sent again fit together. All parties go on from the same step.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from federated.frames import read_frame, write_frame
from federated.protocols.vertical.trees import MAX_TREES, Split, Tree
from fusion.errors import MessageInvalid

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    Words = NDArray[np.uint64]
    Blocks = list[tuple[Words, Words]]
    """Of each block: the share of its weights, and of those before."""

_SCHEMA: Final = "banyan.vertical-state/1"


def write(role: str, step: int, facts: Mapping[str, Any], arrays: Mapping[str, bytes]) -> bytes:
    """Return a state as bytes.

    Args:
        role: Of the machine.
        step: Trees or epochs that are finished.
        facts: JSON values.
        arrays: Numbers, little-endian.
    """
    return write_frame({"schema": _SCHEMA, "role": role, "step": step, "facts": facts}, arrays)


def read(role: str, data: bytes) -> tuple[int, dict[str, Any], dict[str, bytes]]:
    """Return step, facts and arrays of a state.

    Raises:
        MessageInvalid: It is none, or that of another role.
    """
    head, arrays = read_frame(data)
    if (head.get("schema"), head.get("role")) != (_SCHEMA, role):
        raise MessageInvalid("A kept state is not one of this kind of machine.")
    step, facts = head.get("step"), head.get("facts")
    if type(step) is not int or not 0 <= step <= MAX_TREES or not isinstance(facts, dict):
        raise MessageInvalid("A kept state is not well formed.")
    return step, facts, arrays


@contextmanager
def well_formed() -> Iterator[None]:
    """Have whatever a state lacks while it is read be one error.

    Raises:
        MessageInvalid: A name, a place or a size in the state is none.
    """
    try:
        yield
    except (KeyError, IndexError, TypeError, ValueError, OverflowError):
        raise MessageInvalid(
            "A kept state is not well formed.", hint="Start a new run; the disk may be failing."
        ) from None


def write_trees(trees: Sequence[Tree]) -> dict[str, bytes]:
    """Return trees as arrays: of splits tree, node, owner, handle; of leaves tree, node, rows."""
    splits = [
        (number, node, split.owner, split.handle)
        for number, tree in enumerate(trees)
        for node, split in tree.splits.items()
    ]
    leaves = [
        (number, node, tree.rows.get(node, 0))
        for number, tree in enumerate(trees)
        for node in tree.leaves
    ]
    weights = [weight for tree in trees for weight in tree.leaves.values()]
    return {
        "splits": np.array(splits, "<i8").tobytes(),
        "leaves": np.array(leaves, "<i8").tobytes(),
        "weights": np.array(weights, "<f8").tobytes(),
    }


def read_trees(count: int, arrays: Mapping[str, bytes]) -> list[Tree]:
    """Return so many trees."""
    trees = [Tree() for _ in range(count)]
    for number, node, owner, handle in np.frombuffer(arrays["splits"], "<i8").reshape(-1, 4):
        trees[number].splits[int(node)] = Split(int(owner), int(handle))
    places = np.frombuffer(arrays["leaves"], "<i8").reshape(-1, 3)
    weights = np.frombuffer(arrays["weights"], "<f8")
    for (number, node, rows), weight in zip(places, weights, strict=True):
        trees[number].leaves[int(node)] = float(weight)
        trees[number].rows[int(node)] = int(rows)
    return trees


def write_leaves(places: NDArray[np.int16]) -> bytes:
    """Return the leaf of each row in one tree as bytes; it is in no state, as it never changes."""
    return places.astype("<i2").tobytes()


def read_leaves(data: bytes) -> NDArray[np.int16]:
    """Return the leaf of each row.

    Raises:
        MessageInvalid: They are none.
    """
    with well_formed():
        return np.frombuffer(data, "<i2").astype(np.int16)


def write_blocks(role: str, step: int, blocks: Blocks) -> bytes:
    """Return a linear machine's shares after an epoch as bytes."""
    widths = [len(now) for now, _ in blocks]
    words = [word for pair in blocks for word in pair]
    data = np.concatenate(words).astype("<u8").tobytes()
    return write(role, step, {"widths": widths}, {"words": data})


def read_blocks(role: str, data: bytes) -> tuple[int, Blocks]:
    """Return epoch and shares.

    Raises:
        MessageInvalid: It is no such state.
    """
    step, facts, arrays = read(role, data)
    with well_formed():
        words = np.frombuffer(arrays["words"], "<u8").astype(np.uint64)
        blocks, at = [], 0
        for width in facts["widths"]:
            blocks.append((words[at : at + width], words[at + width : at + 2 * width]))
            at += 2 * width
    return step, blocks
