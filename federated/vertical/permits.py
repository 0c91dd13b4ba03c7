"""Under which permits a party takes part in a vertical run: one to align, one to train.

Everybody's own table has its own grant, that of the label party as well: one rule, one evidence.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from federated.leave import UNGRANTED, Leave, Ungranted
from fusion.errors import GrantRefused
from fusion.grants.refusal import Code
from fusion.grants.request import Request, charge_name
from fusion.types import OrgId

if TYPE_CHECKING:
    from collections.abc import Sequence

    from federated.leave import Desk
    from federated.vertical.attempts import Permission
    from federated.vertical.study import VerticalStudy
    from fusion.alignment.study import AlignmentStudy
    from fusion.ports import Clock

_KEYS: dict[str, str] = {
    Code.NO_GRANT: "party",
    Code.NAMED: "party",
    Code.ASSIGNEE: "study.operator",
    Code.PURPOSE: "study.purpose",
    Code.MODEL: "model.kind",
    Code.ROUNDS: "model",
    Code.SET_SIZE: "alignment.set_size",
    Code.INTERSECTION: "alignment.minimum_intersection",
    Code.OVERLAP: "alignment.minimum_overlap_permille",
    Code.MEMBERSHIP: "leakage.membership_permille",
    Code.LABEL_LEAK: "leakage.label_leak_permille",
    Code.SMALLEST_LEAF: "leakage.smallest_leaf",
}
"""Which key of the study a refusal is about."""


def requests_of(me: str, job: str, study: VerticalStudy, schema_digest: str) -> tuple[Request, ...]:
    """Return what a study asks of a party, as its grants are asked about it: align, then train."""
    party, alignment = study.party(me), study.document.alignment

    def request(
        action: str, columns: tuple[str, ...], needed: tuple[str, ...], **limits: object
    ) -> Request:
        return Request.model_validate(
            {
                "job": job,
                "assignee": study.operator,
                "party": me,
                "action": action,
                "dataset": party.dataset,
                "columns": columns,
                "needed": needed,
                "schema_digest": schema_digest,
                "purpose": study.purpose,
                "grants": party.grants or (),
                "study": study.digest(),
                **limits,
            }
        )

    label = () if party.label is None else (party.label,)
    return (
        request(
            "align", (party.identifier,), (party.identifier,),
            set_size=alignment.set_size, outcome="both",
            minimum_intersection=alignment.minimum_intersection,
            minimum_overlap_permille=alignment.minimum_overlap_permille,
        ),
        request(
            "train", (*party.columns, *label), label,
            model=study.model.kind, k=len(study.parties), rounds=study.model.steps,
            **study.promises.model_dump(),
        ),
    )  # fmt: skip


def align_request(me: str, job: str, study: AlignmentStudy, schema_digest: str) -> Request:
    """Return what an alignment by itself asks of a party's grants.

    Raises:
        InputInvalid: The study does not name this party.
    """
    own, alignment = study.of(me), study.alignment
    return Request(
        job=job,
        assignee=study.operator,
        party=OrgId(me),
        action="align",
        dataset=own.dataset,
        columns=(own.identifier,),
        needed=(own.identifier,),
        schema_digest=schema_digest,
        purpose=study.study.purpose,
        set_size=alignment.set_size,
        outcome=alignment.outcome,
        minimum_intersection=alignment.minimum_intersection,
        minimum_overlap_permille=alignment.minimum_overlap_permille,
        grants=own.grants or (),
        study=study.digest(),
    )


def take_align_leave(
    desk: Desk, me: str, job: str, study: AlignmentStudy, clock: Clock
) -> tuple[Leave, str]:
    """Get a permit for a party's part in an alignment, charged, and use it up.

    Returns:
        The permit, and the name of its charge in the log.

    Raises:
        GrantRefused: No grant of this party allows it.
        InputInvalid: The study does not name this party.
    """
    request = align_request(me, job, study, desk.schema_digest(study.of(me).dataset))
    try:
        permit = desk.admit(request)
    except GrantRefused as error:
        error.study_key = _KEYS.get(error.code, "")
        raise
    permit.spend()
    return Leave(desk, permit, clock), hashlib.sha256(charge_name(request).encode()).hexdigest()


def take_leaves(
    desk: Desk | None, me: str, job: str, study: VerticalStudy, clock: Clock
) -> tuple[Leave | Ungranted, ...]:
    """Get permits for a party's part in a study, charged, and use them up.

    Args:
        desk: The party's own; ``None`` where it works without grants.
        me: The party.
        job: The run.
        study: As the hub showed it.
        clock: For how often to look later.

    Raises:
        GrantRefused: No grant of this party allows it.
    """
    if desk is None:
        return (UNGRANTED,)
    schema = desk.schema_digest(study.party(me).dataset)
    taken: list[Leave | Ungranted] = []
    try:
        for request in requests_of(me, job, study, schema):
            permit = desk.admit(request)
            permit.spend()
            taken.append(Leave(desk, permit, clock))
    except GrantRefused as error:
        for leave in taken:
            leave.give_up()
        error.study_key = _KEYS.get(error.code, "")
        raise
    return tuple(taken)


def begin_together(permissions: Sequence[Permission]) -> None:
    """Say that something is about to leave under several permits: all charges are final, or none.

    Raises:
        GrantRefused: A charge was given back.
    """
    leaves = [each for each in permissions if isinstance(each, Leave)]
    for each in permissions:
        if not isinstance(each, Leave):
            each.begin()
    if leaves:
        leaves[0].begin(*leaves[1:])
