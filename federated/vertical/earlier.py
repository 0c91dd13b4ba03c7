"""A run is held to earlier ones with the same parties: how many there were, and how sets differ.

The same memory as that of ``fusion align``, whichever way records were aligned before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fusion.alignment import controls
from fusion.alignment.controls import Limits, Run
from fusion.services import earlier_runs
from fusion.services.grants import folder_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from federated.vertical.study import VerticalStudy
    from fusion.services.homes import NodeHome


def hold_to_earlier(
    node: NodeHome, study: VerticalStudy, job: str, grant: str, keys: Sequence[str]
) -> None:
    """Return if the own set may be aligned with every party of a study; it is remembered then.

    Args:
        node: The party's folder.
        study: The study.
        job: The run; its own earlier attempts do not count.
        grant: Under which records are aligned.
        keys: The own set.

    Raises:
        AlignmentRefused: A-15: no run is left. A-16: the set is too near an earlier one.
        InputInvalid: The job was begun with another set.
    """
    allowed = folder_of(node).get(grant).signed.grant.permissions.align
    if allowed is None:
        return
    limits = Limits(allowed.runs, allowed.minimum_difference)
    marks = controls.sketch(earlier_runs.secret_of(node), keys)
    peers = [name for name in study.organisations if name != node.config.id]
    run = Run(job, study.identifiers.kind, len(keys), 0, "", marks)
    earlier_runs.hold_to_earlier(node, peers, limits, run)
