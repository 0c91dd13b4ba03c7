"""Grants and revocations over the hub's port: handed in by one party, fetched by the others.

The hub keeps what verifies, shows each member the grants that it is a party to, and decides
nothing: whoever fetches verifies anew, and a grant without the own signature permits nothing.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fusion.errors import FusionError, HubRefused, MessageInvalid, Refused
from fusion.grants import signing
from fusion.services import grants
from fusion.services.dialling import link_of
from fusion.wire import canonical
from fusion.wire.limits import MEBI

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from fusion.identity.members import Member
    from fusion.link.dial import Link
    from fusion.services.homes import HubHome, NodeHome

GRANTS: Final = "grants"
"""The document, the box and the bell."""

MAX_INDEX_BYTES: Final = 2 * MEBI
_NAME: Final = r"^[0-9a-f]{64}\.(grant|revocation)\.json$"


class Index(BaseModel):
    """Which grants and revocations there are for a member.

    Attributes:
        items: SHA-256 of each file, by its name.
    """

    model_config = ConfigDict(strict=True, extra="forbid")

    schema_: Literal["fusion.grant-index/1"] = Field(default="fusion.grant-index/1", alias="schema")
    items: dict[
        Annotated[str, Field(pattern=_NAME)], Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    ]

    @classmethod
    def from_bytes(cls, data: bytes) -> Index:
        """Read an index.

        Raises:
            MessageInvalid: It is none.
        """
        try:
            return cls.model_validate(canonical.decode(data, MAX_INDEX_BYTES))
        except ValidationError:
            raise MessageInvalid("An index of grants is not well formed.") from None

    def to_bytes(self) -> bytes:
        """Return what :meth:`from_bytes` reads."""
        return canonical.encode(self.model_dump(by_alias=True))


# ------------------------------------------------------------------------------- at the hub


class Shelf:
    """What the hub has for whom; files are read again when they were replaced."""

    def __init__(self, hub: HubHome) -> None:
        """Take the hub; nothing is read yet."""
        self._hub = hub
        self._parties: dict[str, tuple[int, frozenset[str]]] = {}

    def take(self, member: Member, data: bytes) -> None:
        """Keep a grant or a revocation that a party to it hands in.

        Raises:
            Refused: The member is no party to it.
            VerificationFailed: It does not verify.
            InputInvalid: It revokes a grant that is not known here.
        """
        if signing.is_revocation(data):
            known = signing.open_revocation(data, self._hub.roster()).grant
            parties = _parties(grants.folder_of(self._hub).get(known).signed)
        else:
            parties = _parties(signing.open_grant(data, self._hub.roster()))
        if member.id not in parties:
            raise Refused("A grant is handed in by one of its parties.")
        grants.add(self._hub, data)

    def document(self, member: Member, rest: str) -> bytes | None:
        """Return the index for a member, or one of the files in it."""
        if not rest:
            items = {
                path.name: hashlib.sha256(path.read_bytes()).hexdigest()
                for path in self._files(member.id)
            }
            return Index(items=items).to_bytes()
        for path in self._files(member.id):
            if path.name == rest:
                return path.read_bytes()
        return None

    def _files(self, member: str) -> Iterator[Path]:
        """Yield the files of grants to which an organisation is a party."""
        for path in sorted(self._hub.grants.glob(f"*{grants.GRANT_SUFFIX}")):
            if member in self._of(path):
                yield path
                name = path.name.removesuffix(grants.GRANT_SUFFIX)
                revocation = path.with_name(f"{name}{grants.REVOCATION_SUFFIX}")
                if revocation.exists():
                    yield revocation

    def _of(self, path: Path) -> frozenset[str]:
        """Return the parties to a grant that was verified when it was kept."""
        changed = path.stat().st_mtime_ns
        known = self._parties.get(path.name)
        if known is None or known[0] != changed:
            try:
                parties = _parties(signing.open_grant(path.read_bytes(), self._hub.roster()))
            except FusionError:
                parties = frozenset()  # somebody changed the file: nobody is shown it
            known = self._parties[path.name] = (changed, parties)
        return known[1]


def _parties(signed: signing.SignedGrant) -> frozenset[str]:
    grant = signed.grant
    return frozenset((*grant.assigners, grant.assignee, *signed.signed, *signed.missing))


# ------------------------------------------------------------------------------- at a node


def hand_in(node: NodeHome, data: bytes) -> None:
    """Hand a grant or a revocation in, for the others to fetch.

    Raises:
        PartyUnreachable: The hub does not answer, or does not take it.
    """
    with link_of(node) as link:
        link.hand_in(GRANTS, data)


def exchange(node: NodeHome, link: Link, note: Callable[[str], None]) -> list[str]:
    """Fetch what is new and hand in what the hub lacks; return the names of the files that changed.

    Raises:
        PartyUnreachable: The hub does not answer.
        MessageInvalid: What it sends is not well formed.
    """
    data = link.read(GRANTS, MAX_INDEX_BYTES)
    found = Index.from_bytes(data).items if data is not None else {}
    taken = [
        name
        for name in sorted(found, key=_grants_first)
        if _digest(node.grants / name) != found[name] and _fetch(node, link, name, note)
    ]
    for path in sorted(node.grants.glob("*.json")):
        if found.get(path.name) != _digest(path):
            try:
                link.hand_in(GRANTS, path.read_bytes())
            except HubRefused as error:
                note(f"{path.name[:16]}… is not taken by the hub: {error.message}")
    return taken


def _grants_first(name: str) -> tuple[str, str]:
    """A revocation is of a grant that has to be known."""
    return name.split(".")[1], name


def _fetch(node: NodeHome, link: Link, name: str, note: Callable[[str], None]) -> bool:
    """Take a file over; say whether it changed what is here."""
    file = link.read(f"{GRANTS}/{name}", signing.MAX_SIGNED_BYTES)
    before = _digest(node.grants / name)
    if file is None:
        return False
    try:
        grants.add(node, file)
    except FusionError as error:
        note(f"{name[:16]}… from the hub is left out: {error.message}")
        return False
    if _digest(node.grants / name) == before:
        return False
    if name.endswith(grants.REVOCATION_SUFFIX):
        note(f"grant {name[:16]} is revoked")
    else:
        kept = grants.folder_of(node).get(name.removesuffix(grants.GRANT_SUFFIX))
        missing = ", ".join(kept.signed.missing) or "nobody"
        note(f"grant {name[:16]} came in; to be signed by {missing}")
    return True


def _digest(path: Path) -> str | None:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except FileNotFoundError:
        return None
