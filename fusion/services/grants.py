"""The verbs of grants over the folder of a node or a hub: propose, sign, add, revoke, list, check.

::

    HOME/grants/ID.grant.json         the grant with the signatures known here
    HOME/grants/ID.revocation.json    there is one when a signer revoked it; it is never removed
    HOME/state.sqlite                 what was spent, at a node, and what the log says of it

A file from elsewhere is verified before it is kept, and again whenever it is read. What is kept is
logged; a node's desk logs what it finds before it decides, in case a crash came in between.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from fusion.catalogue.descriptor import schema_digest
from fusion.connectors.schemas import read_schema
from fusion.errors import (
    EnvironmentUnfit,
    GrantRefused,
    InputInvalid,
    PartyUnreachable,
    UnknownOrganisation,
    VerificationFailed,
)
from fusion.grants import signing
from fusion.grants.budget import NO_EVIDENCE
from fusion.grants.decide import still
from fusion.grants.permit import Permit
from fusion.grants.reading import parse_grant, parse_request
from fusion.grants.request import charge_name
from fusion.grants.signing import SignedGrant, Standing, standing
from fusion.identity.members import AUTHORITY
from fusion.ledger.entry import moment_of, stamp
from fusion.services import grant_evidence as evidence
from fusion.services.catalogue import check_usable
from fusion.services.clock import SystemClock, timestamp
from fusion.services.enrolment import refresh_roster
from fusion.services.files import make_folder, write_atomic
from fusion.services.grant_choice import choose, none_holds
from fusion.services.homes import HubHome, NodeHome
from fusion.services.ledger import Book
from fusion.services.storage import open_budgets
from fusion.services.verified import VerifiedGrants

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from fusion.crypto.signing import SigningKey
    from fusion.grants.budget import Budgets, Evidence
    from fusion.grants.refusal import Refusal
    from fusion.grants.request import Request
    from fusion.grants.signing import Revocation
    from fusion.identity.roster import Roster
    from fusion.ports import Clock
    from fusion.services.grant_evidence import Refused
    from fusion.services.logbook import LogBook

    Home = HubHome | NodeHome

GRANT_SUFFIX: Final = ".grant.json"
REVOCATION_SUFFIX: Final = ".revocation.json"
_SHORTEST_PREFIX: Final = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A grant in a folder.

    Attributes:
        signed: The grant, verified.
        revoked: Whether there is a revocation of it.
        path: Its file.
    """

    signed: SignedGrant
    revoked: bool
    path: Path

    @property
    def standing(self) -> Standing:
        """Where it stands."""
        return standing(self.signed, revoked=self.revoked)

    def to_json(self) -> dict[str, Any]:
        """Return the grant and where it stands as JSON values."""
        return {
            "id": self.signed.id,
            "standing": self.standing.value,
            "signed": sorted(self.signed.signed),
            "missing": list(self.signed.missing),
            "file": str(self.path),
            "grant": self.signed.grant.document(),
        }


class GrantFolder:
    """The grants that a folder knows."""

    def __init__(
        self,
        path: Path,
        roster: Callable[[], Roster],
        *,
        newest: Callable[[], Roster] | None = None,
    ) -> None:
        """Name the folder; it is made when something is kept in it.

        Args:
            path: The folder.
            roster: Returns the roster as it is known here.
            newest: Asks the hub for a newer one, for when a grant names a member not in this one.
        """
        self.path = path
        self._roster = roster
        self._newest = newest
        self._verified = VerifiedGrants()

    def all(self) -> list[Kept]:
        """Return every grant, by id.

        Raises:
            VerificationFailed: A file in the folder is not a grant that verifies.
        """
        roster = self._roster()
        return [self._open(path, roster) for path in sorted(self.path.glob(f"*{GRANT_SUFFIX}"))]

    def readable(self, note: Callable[[str], None]) -> list[Kept]:
        """Return every grant that verifies against the roster of now; say which do not."""
        roster, found = self._roster(), []
        for path in sorted(self.path.glob(f"*{GRANT_SUFFIX}")):
            try:
                found.append(self._open(path, roster))
            except (VerificationFailed, EnvironmentUnfit) as error:
                note(f"{path.name} is left out: {error.message}")
        return found

    def get(self, name: str) -> Kept:
        """Return the grant whose id begins with ``name``.

        Raises:
            InputInvalid: There is none, or more than one.
        """
        usable = len(name) >= _SHORTEST_PREFIX and name.isalnum()
        paths = sorted(self.path.glob(f"{name}*{GRANT_SUFFIX}")) if usable else []
        if len(paths) != 1:
            raise InputInvalid(
                f"{name[:64]} names no grant here.",
                hint="`fusion grant list` shows them; eight digits of an id are enough.",
            )
        return self._open(paths[0], self._roster())

    def revoked(self, grant: str) -> bool:
        """Return whether there is a revocation; that the file is there is enough to stop."""
        return (self.path / f"{grant}{REVOCATION_SUFFIX}").exists()

    def revocation(self, grant: str) -> bytes | None:
        """Return the revocation of a grant as it is on disk, if it can be read."""
        try:
            return (self.path / f"{grant}{REVOCATION_SUFFIX}").read_bytes()
        except OSError:
            return None

    def look(self, path: Path, data: bytes) -> Kept:
        """Verify a grant and return it without keeping it.

        Where it names a member that is not known here, the hub is asked for a newer roster, which
        is then kept: so not while the folder is locked.

        Raises:
            VerificationFailed: It, or a signature under it, is not as it has to be.
        """
        roster = self._roster()
        try:
            signed = signing.open_grant(data, roster)
        except UnknownOrganisation:
            signed = signing.open_grant(data, self._newer(roster))
        return Kept(signed=signed, revoked=self.revoked(signed.id), path=path)

    def keep(self, data: bytes) -> Kept:
        """Verify a grant and keep it, with the signatures known here before; the folder is locked.

        Raises:
            VerificationFailed: It, or a signature under it, is not as it has to be.
        """
        roster = self._roster()
        signed = signing.open_grant(data, roster)
        path = make_folder(self.path) / f"{signed.id}{GRANT_SUFFIX}"
        if path.exists():
            data = signing.merged(self._open(path, roster).signed, signed)
        write_atomic(path, data, 0o644)
        return self._open(path, roster)

    def keep_revocation(self, data: bytes) -> Revocation:
        """Verify a revocation of a grant that is known here and keep it.

        Raises:
            InputInvalid: The grant is not known here.
            VerificationFailed: It is not by one of the grant's signers.
        """
        revocation = signing.open_revocation(data, self._roster())
        signing.check_revokes(revocation, self.get(revocation.grant).signed)
        write_atomic(self.path / f"{revocation.grant}{REVOCATION_SUFFIX}", data, 0o644)
        return revocation

    def _newer(self, known: Roster) -> Roster:
        try:
            return known if self._newest is None else self._newest()
        except (PartyUnreachable, EnvironmentUnfit):
            return known

    def _open(self, path: Path, roster: Roster) -> Kept:
        try:
            data = path.read_bytes()
        except OSError as error:
            raise EnvironmentUnfit(f"{path} can't be read: {error.strerror}.") from error
        signed = self._verified.open(data, roster)
        if path.name != f"{signed.id}{GRANT_SUFFIX}":
            raise VerificationFailed(f"{path} holds another grant than its name says.")
        return Kept(signed=signed, revoked=self.revoked(signed.id), path=path)


def folder_of(home: Home) -> GrantFolder:
    """Return the grants of a hub or a node."""
    if isinstance(home, HubHome):
        return GrantFolder(home.grants, home.roster)
    return GrantFolder(home.grants, home.roster, newest=lambda: refresh_roster(home))


def identity_of(home: Home) -> tuple[str, SigningKey]:
    """Return under which name, with which key, this folder signs."""
    if isinstance(home, HubHome):
        return AUTHORITY, home.authority_key
    return home.config.id, home.statement_key


# ------------------------------------------------------------------------------- the verbs


def propose(home: Home, text: str, origin: str) -> Kept:
    """Read a grant that a person wrote, sign it as the first one, and keep it.

    Raises:
        GrantInvalid: It is wrong; names the line.
        SignatureInvalid: This organisation is not one of its signers.
        UnknownOrganisation: It names somebody who is not in the roster.
    """
    grant = parse_grant(text, origin)
    name, key = identity_of(home)
    data = signing.propose(grant, name, key)
    folder = folder_of(home)
    folder.look(folder.path, data)
    with home.lock():
        kept = folder.keep(data)
    return _logged(home, kept)


def sign(home: Home, data: bytes) -> Kept:
    """Sign a grant that somebody else proposed, and keep it.

    Raises:
        VerificationFailed: It does not verify, or this organisation is not one of its signers.
    """
    name, key = identity_of(home)
    folder = folder_of(home)
    if name not in folder.look(folder.path, data).signed.signed:
        data = signing.sign(data, name, key)
    with home.lock():
        kept = folder.keep(data)
    return _logged(home, kept)


def add(home: Home, data: bytes) -> Kept:
    """Take over signatures, or a revocation, that others made; signs nothing.

    Raises:
        VerificationFailed: It is neither a grant nor a revocation that verifies.
        InputInvalid: It revokes a grant that is not known here.
    """
    folder = folder_of(home)
    if not signing.is_revocation(data):
        folder.look(folder.path, data)
        with home.lock():
            kept = folder.keep(data)
    else:
        with home.lock():
            kept = folder.get(folder.keep_revocation(data).grant)
    return _logged(home, kept)


def _logged(home: Home, kept: Kept) -> Kept:
    """Log what has just been kept, and return it; not while the folder is locked."""
    with Book(home) as book:
        _see(book, folder_of(home), home.roster(), kept, book.now())
    return kept


def _see(book: LogBook, folder: GrantFolder, roster: Roster, kept: Kept, at: str) -> None:
    evidence.see_grant(book, kept.signed, at)
    data = folder.revocation(kept.signed.id) if kept.revoked else None
    if data is not None:
        evidence.see_revocation(book, data, roster, at)


def revoke(home: Home, name: str, reason: str, *, clock: Clock | None = None) -> tuple[Kept, bytes]:
    """Revoke a grant for good; return it and the revocation, which the others need as well.

    Raises:
        InputInvalid: There is no such grant, or no reason is given.
        SignatureInvalid: This organisation is not one of its signers.
    """
    if not 0 < len(reason) <= 200 or not reason.isprintable():
        raise InputInvalid("A revocation gives a reason of 1 to 200 printable characters.")
    who, key = identity_of(home)
    with home.lock():
        folder = folder_of(home)
        kept = folder.get(name)
        now = timestamp((clock or SystemClock()).now())
        data = signing.revoke(kept.signed, who, key, reason=reason, now=now)
        if not kept.revoked:
            folder.keep_revocation(data)
        kept = folder.get(kept.signed.id)
    return _logged(home, kept), data


def check(
    home: Home, text: str, origin: str, *, clock: Clock | None = None
) -> tuple[Request, Permit | Refusal]:
    """Say what a request would get, without carrying it out or reserving anything.

    Away from the party's own node its budget is not known: nothing counts as used there.

    Raises:
        GrantInvalid: It is not a request; names the line.
    """
    request = parse_request(text, origin)
    budgets: Budgets | None = None
    if isinstance(home, NodeHome) and home.config.id == request.party:
        budgets = open_budgets(home)
    grants = folder_of(home).all()
    return request, choose(grants, request, budgets, (clock or SystemClock()).now())


def schema_of(node: NodeHome, dataset: str) -> dict[str, str]:
    """Return the columns and types of a dataset of this node.

    Raises:
        InputInvalid: It has none of that name.
        DataInvalid: The file can't be read.
        Refused: It is described as core data.
    """
    path = node.config.data.get(dataset)
    if path is None:
        raise InputInvalid(
            f"{node.config.id} has no dataset called {dataset!r}.",
            hint=f"Describe its file: fusion data add FILE --id {dataset} --classify FILE.yaml",
        )
    check_usable(node, dataset)
    return read_schema(path)


# ----------------------------------------------------------------------------- the decision


class GrantDesk:
    """Where a node decides, charges and keeps watch, for its engines.

    Args (of the constructor):
        node: The node's folder.
        roster: Returns the roster as the node knows it now.
        clock: Time.
        note: Writes a line to the node's own log.
        book: The node's log of evidence.
        refused: Logs a refusal, at the time and under the lock of the decision.
    """

    def __init__(
        self,
        node: NodeHome,
        *,
        roster: Callable[[], Roster],
        clock: Clock,
        note: Callable[[str], None],
        book: LogBook,
        refused: Refused = evidence.refused,
    ) -> None:
        """Open the node's budgets."""
        self._node = node
        self._roster = roster
        self._folder = GrantFolder(node.grants, roster)
        self._budgets = open_budgets(node)
        self._clock = clock
        self._note = note
        self._book = book
        self._refused = refused

    def schema_digest(self, dataset: str) -> str:
        """Return the digest of a dataset's schema as it is now."""
        return schema_digest(schema_of(self._node, dataset))

    def admit(self, request: Request) -> Permit:
        """Decide, and charge before any work; the same job again is charged once.

        Raises:
            GrantRefused: No grant allows it; the code is that of the clause.
        """
        # Under the lock, so that the log has decisions, revocations and moves in their order.
        with self._node.lock():
            at = stamp(self._clock.now())
            grants = self._seen(at)
            return self._decided(request, choose(grants, request, self._budgets, moment_of(at)), at)

    def check_some_holds(self, request: Request) -> None:
        """Return if whoever asks has a grant that holds for the action on the table.

        Beforehand, where what is asked for is looked at only then; decides and charges nothing.

        Raises:
            GrantRefused: It has none; says where its own stand, and nothing else.
        """
        now = moment_of(stamp(self._clock.now()))
        if none_holds(self._folder.readable(self._note), request, now) is None:
            return
        with self._node.lock():
            at = stamp(self._clock.now())
            refusal = none_holds(self._seen(at), request, moment_of(at))
            if refusal is not None:
                error = refusal.error()
                self._refused(self._book, request, refusal, error, at)
                raise error

    def _seen(self, at: str) -> list[Kept]:
        """Log which grants there are before it is decided under them; return them."""
        grants = self._folder.readable(self._note)
        for kept in grants:
            _see(self._book, self._folder, self._roster(), kept, at)
        return grants

    def _decided(self, request: Request, result: Permit | Refusal, at: str) -> Permit:
        """Charge and log a permit, or log a refusal and raise it."""
        key = charge_name(request)
        try:
            if not isinstance(result, Permit):
                raise result.error()
            # Somebody else may have been charged since: the store has the last word.
            said = evidence.permitted(request, result, key, at)
            self._budgets.reserve(key, result.grant, request.action, result.cost, result.cap, said)
        except GrantRefused as error:
            self._refused(self._book, request, result, error, at)
            raise
        self._note(f"{request.job}: {request.action} permitted under grant {result.grant[:16]}")
        return result

    def check(self, permit: Permit) -> None:
        """Return if what was permitted may still go on: neither revoked nor expired.

        Raises:
            GrantRefused: It may not.
            MemberRevoked: The one for whom it is done is a member no longer, or this node is not.
        """
        roster = self._roster()
        for name in {permit.request.assignee, permit.request.party} - {AUTHORITY}:
            if any(member.id == name for member in roster.members):
                roster.member(name)
        revoked = self._folder.revoked(permit.grant)
        refusal = still(permit, revoked=revoked, now=self._clock.now())
        if refusal is not None:
            raise refusal.error()

    def commit(self, *permits: Permit) -> None:
        """Make charges final, before anything leaves: all of them at once, or none."""
        with self._node.lock():
            keys = [charge_name(permit.request) for permit in permits]
            self._budgets.commit_all({key: self._moved("committed", key) for key in keys})

    def release(self, permit: Permit) -> None:
        """Give the charge back: the use was given up, and nothing has left."""
        with self._node.lock():
            key = charge_name(permit.request)
            self._budgets.release(key, self._moved("released", key))

    def _moved(self, move: evidence.Move, key: str) -> Evidence:
        """Return what is to be logged of the end of a charge, if it is still open."""
        charge = self._budgets.charged(key)
        if charge is None:
            return NO_EVIDENCE
        grant, action, amount = charge
        return evidence.moves(move, grant, action, key, amount, stamp(self._clock.now()))
