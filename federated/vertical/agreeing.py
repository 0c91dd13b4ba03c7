"""Whether an organisation takes part in what several do together, and what it brings to it.

In this order: roster and study, the operator's order, permits, which are charged; only then a table
is read. Nothing is done because the hub says so.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from federated.orders import take_order
from federated.vertical.align_job import AlignJob, BroughtToAlign
from federated.vertical.attempts import patience_of
from federated.vertical.evidence import AlignmentEvidence
from federated.vertical.job import BroughtToTrain, VerticalJob
from federated.vertical.own_table import own_table
from federated.vertical.permits import begin_together, take_align_leave, take_leaves
from federated.vertical.study import VerticalStudy
from fusion.alignment.preparation import prepare
from fusion.alignment.rules import Decided, refused
from fusion.connectors.files import read_table
from fusion.errors import FusionError, GrantRefused, Refused
from fusion.grants.refusal import Code
from fusion.services import align_results
from fusion.services.catalogue import check_usable
from fusion.services.grants import folder_of
from fusion.services.outward import CHARGED, Unfit, is_of_the_table

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from federated.evidence import PartyLog
    from federated.leave import Desk
    from federated.vertical.attempts import AttemptedJob
    from federated.vertical.evidence import VerticalEvidence
    from federated.vertical.keeping import Keeping
    from federated.vertical.own_table import OwnTable
    from federated.vertical.study import JointStudy
    from fusion.alignment.preparation import Prepared, Report
    from fusion.alignment.study import AlignmentStudy
    from fusion.grants.document import Align
    from fusion.identity.roster import Roster
    from fusion.ports import Clock
    from fusion.services.conversing import Conversations
    from fusion.services.homes import NodeHome
    from fusion.services.model_facts import ModelFacts
    from fusion.services.open_charges import OpenCharges
    from fusion.types import OrgId


class StrangerRefused(GrantRefused):
    """An order of somebody whom no grant names: nothing is kept or logged of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VerticalSeat:
    """What an organisation brings to everything that several do together.

    Attributes:
        organisation: Its identifier.
        roster: Returns the roster as the organisation knows it now.
        log: What must survive a restart, and the log of evidence.
        file: Returns the file of a dataset, by its name.
        schema: Returns the digest of a dataset's schema.
        studies: Digests of the studies that are allowed; empty when all are.
        clock: Time.
        note: Writes a line to the organisation's own log.
        desk: Where it decides what its grants allow; ``None`` if it works without grants.
        align_desk: The same for alignments by themselves, which nobody takes part in without one.
        charges: What it was charged for runs that never began.
        node: Its folder: what an alignment comes to is written there.
        keeping: Returns what it keeps of a job.
        conversations: How it talks with others.
        hold: Told study, job, the grant of the alignment and the own keys; raises if earlier runs
            forbid it.
        keep_part: Keeps a finished part; returns its version.
    """

    organisation: OrgId
    roster: Callable[[], Roster]
    log: PartyLog
    file: Callable[[str], Path]
    schema: Callable[[str], str]
    studies: frozenset[str] = frozenset()
    clock: Clock
    note: Callable[[str], None]
    desk: Desk | None
    align_desk: Desk
    charges: OpenCharges
    node: NodeHome
    keeping: Callable[[str], Keeping]
    conversations: Conversations
    hold: Callable[[VerticalStudy, str, str, Sequence[str]], None]
    keep_part: Callable[[ModelFacts, bytes], int]


@dataclass(frozen=True, slots=True)
class Agreement:
    """What the hub asks a party to agree to.

    Attributes:
        job: The job.
        study: The study.
        order: The operator's order, as the hub shows it.
    """

    job: str
    study: JointStudy
    order: bytes | None


def agree(seat: VerticalSeat, log: VerticalEvidence, asked: Agreement) -> AttemptedJob:
    """Agree, and return the party's part in the job; nothing of it has begun.

    Raises:
        StrangerRefused: No grant of this party is for the operator of an alignment.
        Refused: The study is not one of those that this party allows.
        AlignmentRefused: A-20: it asks for a protocol that this party does not offer.
        OrderRefused: The operator did not order this run.
        GrantRefused: No grant of this party allows it.
        DataInvalid: The table does not fit; the own log says why.
    """
    roster, study = seat.roster(), asked.study
    for other in study.organisations:
        roster.member(other)
    if not isinstance(study, VerticalStudy):
        _refuse_stranger(seat, study)
    if seat.studies and study.digest() not in seat.studies:
        msg = f"{seat.organisation} has not allowed the study {study.name} ({study.digest()})."
        raise Refused(msg, hint="Its operator adds the digest to `studies` in node.toml.")
    if not isinstance(study, VerticalStudy):
        _refuse_unoffered(seat, study)
    take_order(log, roster, asked.job, study, asked.order, seat.clock)
    if isinstance(study, VerticalStudy):
        return _to_train(seat, log, asked.job, study, roster)
    return _to_align(seat, asked.job, study, roster)


def _to_train(
    seat: VerticalSeat, log: VerticalEvidence, job: str, study: VerticalStudy, roster: Roster
) -> VerticalJob:
    # Charged before data is read: whether a table fits is an answer too.
    leaves = take_leaves(seat.desk, seat.organisation, job, study, seat.clock)
    try:
        file = seat.file(study.party(seat.organisation).dataset)
        table = own_table(study, seat.organisation, file)
    except FusionError as error:
        begin_together(leaves)
        if not is_of_the_table(error):
            raise
        _note_error(seat, job, error)
        raise Unfit(seat.organisation, CHARGED) from error
    _note(seat, job, table.prepared.report)
    for notice in table.notices:
        seat.note(f"job {job}: {notice}")
    return VerticalJob(
        BroughtToTrain(
            me=seat.organisation,
            job=job,
            patience=patience_of(study),
            permissions=leaves,
            keeping=seat.keeping(job),
            conversations=seat.conversations,
            note=seat.note,
            federation=roster.federation,
            study=study,
            table=table,
            hold=lambda: _hold(seat, study, job, leaves[0].grant, table),
            log_aligned=lambda attempt, aligned: log.aligned(job, attempt, aligned),
        )
    )


def _hold(seat: VerticalSeat, study: VerticalStudy, job: str, grant: str, table: OwnTable) -> None:
    if grant:  # who works without grants is held to nothing
        seat.hold(study, job, grant, table.prepared.keys)


def _note_error(seat: VerticalSeat, job: str, error: FusionError) -> None:
    """Tell the owner, and nobody else, what is wrong with the table."""
    seat.note(f"job {job}: {error}{''.join(f' ({n})' for n in getattr(error, '__notes__', ()))}")


def _note(seat: VerticalSeat, job: str, report: Report) -> None:
    seat.note(
        f"job {job}: {report.keys} keys of {report.rows} rows "
        f"({report.missing} missing, {sum(report.invalid.values())} invalid)"
    )


# ------------------------------------------------------------------------------ alignments


def _refuse_stranger(seat: VerticalSeat, study: AlignmentStudy) -> None:
    """Return if a grant here, of whatever state, lets the operator align the study's table."""
    dataset = study.of(seat.organisation).dataset
    grants = (kept.signed.grant for kept in folder_of(seat.node).all())
    if not any(
        (grant.assignee, grant.dataset.id) == (study.operator, dataset)
        and grant.permissions.align is not None
        for grant in grants
    ):
        raise StrangerRefused(
            f"{seat.organisation} has no grant under which {study.operator} may align this table.",
            hint="Ask its owner for a grant with `align`.",
            code=Code.NO_GRANT,
        )


def _refuse_unoffered(seat: VerticalSeat, study: AlignmentStudy) -> None:
    """Return if this node's operator offers the other party the protocol that a study asks for."""
    config = seat.node.config
    others = {*study.organisations} - {seat.organisation}
    offered = config.rr22_python and others.issubset(config.rr22_parties)
    if study.alignment.protocol == "rr22" and not offered:
        raise refused(Decided.NOT_OFFERED)


def _to_align(seat: VerticalSeat, job: str, study: AlignmentStudy, roster: Roster) -> AlignJob:
    leave, reservation = take_align_leave(
        seat.align_desk, seat.organisation, job, study, seat.clock
    )
    try:
        return AlignJob(
            BroughtToAlign(
                me=seat.organisation,
                job=job,
                patience=patience_of(study),
                permissions=(leave,),
                keeping=seat.keeping(job),
                conversations=seat.conversations,
                note=seat.note,
                node=seat.node,
                federation=roster.federation,
                study=study,
                prepared=_prepared(seat, job, study),
                allowed=_allowed(seat, leave.grant),
                operator=roster.member(study.operator).sealing_key,
                log=AlignmentEvidence(seat.log, seat.clock, job, reservation),
            )
        )
    except FusionError as error:
        leave.give_up()  # nothing has left: what can't be read or prepared is no run
        if not is_of_the_table(error):
            raise
        _note_error(seat, job, error)
        raise Unfit(seat.organisation) from error


def _allowed(seat: VerticalSeat, grant: str) -> Align:
    """Return what a grant says of alignments."""
    found = folder_of(seat.node).get(grant).signed.grant.permissions.align
    if found is None:
        raise GrantRefused("The permit is for no alignment.", code=Code.ACTION)
    return found


def _prepared(seat: VerticalSeat, job: str, study: AlignmentStudy) -> Prepared:
    own, ids = study.of(seat.organisation), study.identifiers
    path = seat.file(own.dataset)
    check_usable(seat.node, own.dataset)
    cells = read_table(path, [own.identifier], text=[own.identifier])[own.identifier]
    prepared = prepare(ids.kind, cells.tolist(), duplicates=ids.duplicates, fold=ids.fold)
    _note(seat, job, prepared.report)
    align_results.keep_report(seat.node, job, prepared.report.document())
    align_results.prune(seat.node)
    if not prepared.keys:
        raise refused(Decided.EMPTY)
    return prepared.in_order()
