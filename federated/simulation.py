"""All parties of a study in one process: to try a study before it is deployed.

The same engine, parties, keys and sums as in a deployment, without Flower and without a network.
The key is made here and known to this process, so what is protected is nothing: everyone's table
lies on this machine anyway.
"""

from __future__ import annotations

import time
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from federated.cohort import InProcessCohort
from federated.notary import Notary
from federated.party import Party, Seat
from federated.records import record
from federated.rounds import RoundEngine
from federated.run import Run
from federated.study import parse_study
from federated.study_lines import place_in
from federated.tables import read_columns
from federated.terms import agree
from federated.work import start_event
from fusion.crypto.paillier.primes import safe_prime
from fusion.crypto.paillier.threshold import ThresholdKey, deal
from fusion.crypto.sealing import SealingKey
from fusion.crypto.signing import SigningKey
from fusion.errors import FusionError, InputInvalid, StudyInvalid
from fusion.grants.order import sign_order
from fusion.identity.members import AUTHORITY, Member, PublicKeys
from fusion.identity.roster import Roster
from fusion.services.clock import SystemClock
from fusion.services.homes import DEFAULT_MIN_GROUP
from fusion.services.logbook import LogBook
from fusion.stores.memory import MemoryJournal, MemoryRoundLog
from fusion.stores.memory_ledger import MemoryLedger
from fusion.types import OrgId, org_id
from fusion.wire.study_fields import MAX_WORD

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from federated.study import Study
    from fusion.connectors.files import Table
    from fusion.ports import Event, Ledger


class _SharedKeyring:
    """One organisation's view of the key that the simulation dealt."""

    def __init__(self, key: ThresholdKey, holders: tuple[str, ...], share: int | None) -> None:
        self._key, self._holders, self._share = key, holders, share

    def key(self, fingerprint: str) -> tuple[ThresholdKey, tuple[str, ...]]:
        """Return the key."""
        del fingerprint
        return self._key, self._holders

    def share(self, fingerprint: str) -> int | None:
        """Return the organisation's share."""
        del fingerprint
        return self._share


def simulate(
    study_text: str,
    origin: str,
    parties: Sequence[tuple[str, Path]],
    *,
    label: str | None,
    on_event: Callable[[Event], None],
) -> dict[str, Any]:
    """Run a study over tables on this machine; return its record.

    Args:
        study_text: The study. Its organisations give way to ``parties``.
        origin: Name of the study's file, for messages.
        parties: Each organisation's identifier and file.
        label: Column with the label, in place of the study's.
        on_event: Told of every event as it happens.

    Raises:
        StudyInvalid: The study is wrong, or wants a larger quorum than there are parties.
        InputInvalid: Fewer than two parties, one named twice, or a label that can be none.
        FusionError: Whatever stopped the run.
    """
    place = _place(study_text, origin, label)
    study = _for_these(parse_study(study_text, origin), parties, label, place)
    paths = dict(zip(study.organisations, (path for _, path in parties), strict=True))
    events: list[Mapping[str, Any]] = []

    def emit(event: Mapping[str, Any]) -> None:
        stamped = {**event, "at": SystemClock().now().isoformat(timespec="milliseconds")}
        events.append(stamped)
        on_event(stamped)

    run = _run(study, paths, emit, place)
    emit(start_event(run))
    if study.quorum < DEFAULT_MIN_GROUP:
        message = (
            f"{place('study.quorum')}: a node refuses a quorum below {DEFAULT_MIN_GROUP}, unless "
            f"its owner has lowered `min_group` in its node.toml; here it is {study.quorum}."
        )
        emit({"event": "notice", "message": message})
    try:
        RoundEngine(run).run()
    except FusionError as error:
        emit(_end("failed", str(error), error.exit_code))
        raise
    emit(_end("done", "", 0))
    return record(events)


def _run(
    study: Study,
    paths: Mapping[OrgId, Path],
    emit: Callable[[Mapping[str, Any]], None],
    place: Callable[[str], str],
) -> Run:
    """Make keys, parties and terms."""
    key, shares = _deal(study)
    hub = SigningKey.generate()
    signing = {org: SigningKey.generate() for org in paths}
    logs = {org: MemoryRoundLog() for org in paths}
    books = {org: _book(logs[org].ledger, org, signing[org]) for org in paths}
    members = dict(signing)
    operator = study.operator
    if operator is not None and operator not in {AUTHORITY, *signing}:
        # It has no table here; its order is its own all the same.
        members[operator] = SigningKey.generate()
        books[operator] = _book(MemoryLedger(), operator, members[operator])
    roster = _roster(hub, members, books)
    parties = {
        org: Party(
            Seat(
                organisation=org,
                key=signing[org],
                roster=lambda: roster,
                keyring=_SharedKeyring(key, study.key.holders, shares.get(org)),
                log=logs[org],
                read=_reader(path, partial(_tell, emit, org)),
                min_group=2,
                clock=SystemClock(),
                note=lambda _: None,
                book=books[org],
                # All tables are on this machine: there is nobody to ask.
                desk=None,
            )
        )
        for org, path in paths.items()
    }
    terms, model = agree(study, "simulation", roster, key, study.key.holders)
    return Run(
        study=study, terms=terms, model=model, authority=hub, cohort=InProcessCohort(parties),
        notary=Notary(_book(MemoryLedger(), AUTHORITY, hub), roster, study.organisations),
        journal=MemoryJournal(), clock=SystemClock(), emit=emit, pause=time.sleep,
        place=place, order=_order(study, roster, {OrgId(AUTHORITY): hub, **members}),
    )  # fmt: skip


def _order(study: Study, roster: Roster, keys: Mapping[OrgId, SigningKey]) -> bytes | None:
    """Return the operator's order for the run, if the study names one."""
    if study.operator is None:
        return None
    _, order = sign_order(
        federation=roster.federation, operator=study.operator, study=study.digest(),
        key=keys[study.operator], now=SystemClock().now(),
    )  # fmt: skip
    return order


def _book(ledger: Ledger, organisation: str, statement_key: SigningKey) -> LogBook:
    """Return a log in this process, under keys of its own."""
    return LogBook(
        ledger,
        organisation,
        statement_key=statement_key,
        log_key=SigningKey.generate(),
        witness_key=SigningKey.generate(),
        clock=SystemClock(),
    )


def _end(status: str, message: str, exit_code: int) -> dict[str, Any]:
    return {"event": "end", "status": status, "message": message, "exit_code": exit_code}


def _reader(path: Path, tell: Callable[[str], None]) -> Callable[[Study], Table]:
    """Return what reads a party's file, and tells what a node would write to its own log."""

    def read(study: Study) -> Table:
        try:
            table = read_columns(study, path)
        except FusionError as error:
            for detail in getattr(error, "__notes__", []):
                tell(detail)
            raise
        for notice in table.notices():
            tell(notice)
        return table

    return read


def _tell(emit: Callable[[Mapping[str, Any]], None], org: OrgId, text: str) -> None:
    emit({"event": "notice", "message": f"{org}: {text}"})


def _place(text: str, origin: str, label: str | None) -> Callable[[str], str]:
    """Return what says where a key comes from: the study's file, or the option in its place."""
    in_file = place_in(text, origin)
    given = {"study.label", f"columns.{label}"} if label else set()
    return lambda key: "--label" if key in given else in_file(key)


def _for_these(
    study: Study,
    parties: Sequence[tuple[str, Path]],
    label: str | None,
    place: Callable[[str], str],
) -> Study:
    """Put the parties in place of the study's organisations; everything else stays.

    The key is 2048 bits long and held by all of them, a majority to decrypt: the result is the
    same, and the wait for primes a second.
    """
    names = [org_id(name) for name, _ in parties]
    if len(names) < 2 or len(set(names)) != len(names):
        msg = "A simulation needs at least two parties, each with a name of its own."
        raise InputInvalid(msg, hint="Give --party FILE at least twice; the file's name names it.")
    if study.quorum > len(names):
        where = place("study.quorum")
        msg = f"{where}: `quorum` is {study.quorum}, but {len(names)} parties are given."
        raise StudyInvalid(msg, hint="Give more with --party, or lower `quorum` in the study.")
    if label is not None and label in (column.name for column in study.columns):
        msg = f"--label {label}: the study declares this column as an input."
        raise InputInvalid(msg, hint="Take it out of [[columns]], or name another label.")
    if label is not None and not 1 <= len(label) <= MAX_WORD:
        msg = f"--label has to be a column's name of 1 to {MAX_WORD} characters."
        raise InputInvalid(msg, hint="Leave it out to use the study's own label.")
    return replace(
        study,
        organisations=tuple(names),
        label=label or study.label,
        key=study.key.model_copy(
            update={"bits": 2048, "threshold": len(names) // 2 + 1, "holders": tuple(names)}
        ),
    )


def _deal(study: Study) -> tuple[ThresholdKey, dict[OrgId, int]]:
    half = study.key.bits // 2
    p = q = safe_prime(half)
    while p == q:
        q = safe_prime(half)
    key, shares = deal(p, q, threshold=study.key.threshold, holders=len(study.key.holders))
    return key, dict(zip(study.organisations, shares, strict=True))


def _roster(
    hub: SigningKey, signing: Mapping[OrgId, SigningKey], books: Mapping[OrgId, LogBook]
) -> Roster:
    members = [
        Member(
            id=org,
            name="",
            keys=PublicKeys(
                statement_key=key.public,
                # Nobody is dialled in a simulation; the roster wants them distinct.
                sealing_key=SealingKey.generate().public,
                fleet_key=f"simulated:{org}",
                log_key=books[org].public[0],
                witness_key=books[org].public[1],
                ca=f"simulated:{org}".encode(),
            ),
            admitted_at="1970-01-01T00:00:00Z",
            valid_from="1970-01-01T00:00:00Z",
        )
        for org, key in sorted(signing.items())
    ]
    return Roster(
        federation="simulation", epoch=1, authority_key=hub.public, members=tuple(members)
    )
