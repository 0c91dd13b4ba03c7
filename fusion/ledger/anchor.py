"""What shows a key holder that a round is in the hub's log, and that others have seen that log.

An anchor is an entry, the proof that it is in the log under a checkpoint (RFC 6962, section 2.1.1),
and the cosignatures of other organisations on that checkpoint (C2SP tlog-cosignature). Whoever
brings it is not believed. That the checkpoint goes on from the last one that the holder saw is
checked beside it: see :func:`check_continues`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar, Final

from pydantic import Field

from fusion.errors import LedgerBroken, SignatureInvalid, Unwitnessed, VerificationFailed
from fusion.identity.members import AUTHORITY
from fusion.ledger import merkle
from fusion.ledger.checkpoint import MAX_NOTE_BYTES, Checkpoint, parse
from fusion.ledger.entry import MAX_ENTRY_BYTES, Entry, decode
from fusion.ledger.log_keys import open_log_keys
from fusion.ledger.witness import Message, Proof, Published, check_extends
from fusion.wire.limits import MAX_WITNESS_PACKET_BYTES

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from fusion.crypto.signing import VerifyKey
    from fusion.identity.roster import Roster
    from fusion.ledger.log_keys import LogKeys

_MAX_PARTIES: Final = 1000
_Hash = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Announcement(Message):
    """The hub's log as it is now, for the parties of a run to cosign."""

    SCHEMA: ClassVar[str] = "banyan.announcement/1"
    LIMIT: ClassVar[int] = MAX_WITNESS_PACKET_BYTES

    published: Published


class Anchor(Message):
    """An entry of the hub's log with everything that vouches for it.

    Attributes:
        published: Whose log, the checkpoint, and proofs from and to other sizes of the log.
        entry: The entry, as it was logged.
        number: Its number.
        path: The proof that it is in the log of the checkpoint's size.
        statements: The witnesses' signed statements of their keys.
        cosigned: The checkpoint once more, with the witnesses' signatures.
    """

    SCHEMA: ClassVar[str] = "banyan.anchor/1"
    LIMIT: ClassVar[int] = 2 * MAX_WITNESS_PACKET_BYTES

    published: Published
    entry: Annotated[str, Field(max_length=MAX_ENTRY_BYTES)]
    number: Annotated[int, Field(ge=0, lt=merkle.MAX_SIZE)]
    path: Annotated[list[_Hash], Field(max_length=2 * merkle.MAX_SIZE.bit_length())]
    statements: Annotated[
        list[Annotated[str, Field(max_length=16384)]], Field(max_length=_MAX_PARTIES)
    ]
    cosigned: Annotated[str, Field(max_length=MAX_NOTE_BYTES)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Anchored:
    """An entry that is shown to be in the hub's log.

    Attributes:
        keys: Of the log.
        checkpoint: Cosigned by enough witnesses.
        entry: The entry.
        proofs: From and to other sizes; nothing in them is believed yet.
    """

    keys: LogKeys
    checkpoint: Checkpoint
    entry: Entry
    proofs: tuple[Proof, ...]


def open_anchor(data: bytes, roster: Roster, pool: Collection[str], quorum: int) -> Anchored:
    """Verify an anchor.

    Args:
        data: As it came.
        roster: Says who the hub and the members are.
        pool: Whose cosignatures count; the hub's never does.
        quorum: How many of them there have to be.

    Raises:
        Unwitnessed: The entry is not shown to be in the hub's log, or too few have cosigned.
        VerificationFailed: A signature is wrong.
        MessageInvalid: Malformed.
    """
    anchor = Anchor.from_bytes(data)
    keys, checkpoint = anchor.published.opened(roster)
    if keys.organisation != AUTHORITY:
        raise Unwitnessed(f"A round stands in the log of the hub, not of {keys.organisation}.")
    logged = anchor.entry.encode()
    path = [bytes.fromhex(value) for value in anchor.path]
    try:
        merkle.verify_inclusion(
            merkle.leaf_hash(logged), anchor.number, checkpoint.size, path, checkpoint.root
        )
    except VerificationFailed as error:
        raise Unwitnessed(
            f"The round is not shown to be in the hub's log: {error.message}",
            hint="The hub has to log the round, and prove it, before it is opened.",
        ) from None
    cosigned = parse(anchor.cosigned.encode())
    if cosigned.text() != checkpoint.text():
        raise Unwitnessed("The cosignatures are under another checkpoint than the proof.")
    try:
        cosigned.verify_quorum(_witnesses(anchor.statements, roster, pool), quorum)
    except SignatureInvalid as error:
        raise Unwitnessed(
            f"{error.message} A sum is opened when {quorum} of {', '.join(sorted(pool))} have.",
            hint="Have more of them up, or lower `witnesses` in this node's node.toml.",
        ) from None
    return Anchored(
        keys=keys,
        checkpoint=checkpoint,
        entry=decode(logged),
        proofs=tuple(anchor.published.proofs),
    )


def _witnesses(
    statements: Sequence[str], roster: Roster, pool: Collection[str]
) -> dict[str, VerifyKey]:
    """Return the witness keys of those that count; a statement that does not verify is none."""
    found: dict[str, VerifyKey] = {}
    for text in statements:
        try:
            keys = open_log_keys(text.encode(), roster)
        except VerificationFailed:
            continue
        if keys.organisation in pool and keys.organisation != AUTHORITY:
            found[keys.origin] = keys.witness
    return found


def check_continues(
    checkpoint: Checkpoint, proofs: Sequence[Proof], seen: tuple[int, bytes] | None
) -> None:
    """Refuse a checkpoint of another history than the last one seen of its log.

    It may be older than that, if it is shown to be of the same history: others have gone on since.

    Args:
        checkpoint: Signed by its log.
        proofs: That it extends smaller sizes, and that larger ones extend it.
        seen: Size and root last seen, None before the first time.

    Raises:
        LedgerBroken: The log has gone back, or has another root at the same size.
        VerificationFailed: No proof shows that it only grew.
    """
    if seen is not None and checkpoint.size < seen[0]:
        for proof in proofs:
            if proof.size == seen[0]:
                hashes = [bytes.fromhex(value) for value in proof.hashes]
                merkle.verify_consistency(
                    checkpoint.size, seen[0], hashes, checkpoint.root, seen[1]
                )
                return
        msg = (
            f"The log of {checkpoint.origin} has gone back: {seen[0]} entries were seen of it, "
            f"and {checkpoint.size} are shown."
        )
        hint = "A hub put back from a backup must not go on: see 'Backup' in the deploying page."
        raise LedgerBroken(msg, index=checkpoint.size, hint=hint)
    check_extends(checkpoint, proofs, seen)
