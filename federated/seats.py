"""From a node's folder to what its organisation brings to a run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from federated.party import Seat
from federated.tables import read_columns
from federated.vertical.agreeing import VerticalSeat
from federated.vertical.earlier import hold_to_earlier
from federated.vertical.keeping import SealedKeeping
from fusion.catalogue.descriptor import schema_digest
from fusion.errors import InputInvalid, PartyUnreachable
from fusion.services.clock import SystemClock
from fusion.services.enrolment import refresh_roster
from fusion.services.grants import GrantDesk, schema_of
from fusion.services.keys import keyring_of
from fusion.services.ledger import Book
from fusion.services.models import keep_part
from fusion.services.open_charges import OpenCharges
from fusion.services.storage import open_rounds
from fusion.types import OrgId

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from federated.study import Study
    from fusion.connectors.files import Table
    from fusion.identity.roster import Roster
    from fusion.link.dial import Link
    from fusion.services.conversing import Conversations
    from fusion.services.homes import NodeHome


def seat_of(node: NodeHome, note: Callable[[str], None], link: Link | None = None) -> Seat:
    """Return what the organisation of a node's folder brings to every run.

    Args:
        node: The folder.
        note: Told what the owner should know.
        link: The node's connection to the hub; without one, one is made whenever it is needed.
    """

    def read(study: Study) -> Table:
        path = node.config.data.get(study.dataset)
        if path is None:
            msg = f"{node.config.id} has no dataset called {study.dataset!r}."
            hint = f'Add `{study.dataset} = "FILE"` under [data] in its node.toml.'
            raise InputInvalid(msg, hint=hint, study_key="study.dataset")
        return read_columns(study, path)

    book = Book(node)

    def current_roster() -> Roster:
        try:
            refresh_roster(node, link)
            with book:
                return book.see_roster()
        except PartyUnreachable as error:
            # What is known holds on; a roster that went back, or is forged, is refused instead.
            note(f"the roster could not be refreshed: {error}")
            return node.roster()

    return Seat(
        organisation=OrgId(node.config.id),
        key=node.statement_key,
        roster=current_roster,
        keyring=keyring_of(node),
        log=open_rounds(node),
        read=read,
        min_group=node.config.min_group,
        studies=frozenset(node.config.studies),
        clock=SystemClock(),
        note=note,
        book=book,
        witnesses=node.config.witnesses,
        desk=_desk(node, note, book),
    )


def vertical_seat_of(node: NodeHome, seat: Seat, conversations: Conversations) -> VerticalSeat:
    """Return what the organisation of a node's folder brings to every vertical run.

    Args:
        node: The folder.
        seat: What it brings to sums.
        conversations: How its process talks with others.
    """

    def file(dataset: str) -> Path:
        path = node.config.data.get(dataset)
        if path is None:
            msg = f"{node.config.id} has no dataset called {dataset!r}."
            hint = f'Add `{dataset} = "FILE"` under [data] in its node.toml.'
            raise InputInvalid(msg, hint=hint, study_key="party")
        return path

    return VerticalSeat(
        organisation=seat.organisation,
        roster=seat.roster,
        log=seat.log,
        file=file,
        schema=lambda dataset: schema_digest(schema_of(node, dataset)),
        studies=seat.studies,
        clock=seat.clock,
        note=seat.note,
        desk=seat.desk,
        align_desk=seat.desk
        or GrantDesk(node, roster=node.roster, clock=seat.clock, note=seat.note, book=Book(node)),
        charges=OpenCharges(node, seat.clock),
        node=node,
        keeping=lambda job: SealedKeeping(node, job),
        conversations=conversations,
        hold=lambda study, job, grant, keys: hold_to_earlier(node, study, job, grant, keys),
        keep_part=lambda facts, part: keep_part(node, facts, part, clock=seat.clock),
    )


def _desk(node: NodeHome, note: Callable[[str], None], book: Book) -> GrantDesk | None:
    """Return where the node decides; nowhere if its operator switched grants off."""
    if not node.config.require_grants:
        note("this node requires no grants: it takes part in whatever its other rules allow")
        return None
    # The roster on disk: setting a job up has just refreshed it.
    return GrantDesk(node, roster=node.roster, clock=SystemClock(), note=note, book=book)
