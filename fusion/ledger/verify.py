"""Auditing an exported log, offline: the bundle, and what the auditor knows already, decide.

Everything is computed again: hashes, roots, signatures, the quorum of witnesses, the rules that
entries have to keep together. The first entry that is not as it was logged is named by its number,
or, where hashes were changed along with entries, by the two checkpoints between which it lies.
"""

from __future__ import annotations

import hashlib
import itertools
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from fusion.crypto.signing import VerifyKey
from fusion.errors import (
    FusionError,
    LedgerBroken,
    MemberRevoked,
    MessageInvalid,
    SignatureInvalid,
    UnknownOrganisation,
    VerificationFailed,
)
from fusion.identity.members import AUTHORITY
from fusion.identity.roster import Roster, newer, open_roster
from fusion.ledger.checkpoint import Checkpoint, parse
from fusion.ledger.entry import LogSeen, decode
from fusion.ledger.log_keys import LogKeys, open_log_keys, open_stated_keys, origin_of
from fusion.ledger.merkle import leaf_hash, roots_of
from fusion.ledger.rules import Replay
from fusion.ledger.witness import quorum_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from fusion.ledger.bundle import Bundle

_STEP = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class Expectations:
    """What the auditor knows, or wants, apart from the bundle.

    Attributes:
        authority: The data authority's key; without it the bundle's own word is taken.
        since: A checkpoint of this log that was seen before.
        earlier: A bundle of this log that was seen before.
        witnessed: Whether a checkpoint has to be cosigned by a quorum.
        progress: Told how many entries are done.
    """

    authority: VerifyKey | None = None
    since: Checkpoint | None = None
    earlier: Bundle | None = None
    witnessed: bool = True
    progress: Callable[[int], None] = field(default=lambda _: None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """What a bundle that holds together says.

    Attributes:
        organisation: Whose log.
        federation: Whose federation.
        authority: Key that signed the rosters.
        size: Entries, up to the newest checkpoint.
        root: Root of them all.
        witnessed: Entries up to the newest checkpoint that a quorum cosigned.
        witnesses: Who cosigned that one.
        quorum: How many have to.
        others: How many could.
        kinds: Number of entries of each kind.
        replay: What the entries add up to.
        leaves: Their hashes.
        rosters: All that the bundle has, by epoch.
        decisions: Made again, in order; empty until somebody does (:mod:`fusion.grants.replay`).
        orders: Operators' orders, verified; empty until somebody does (as for decisions).
        stamps: Time stamps; empty until somebody verifies them (:mod:`fusion.services.stamps`).
        span: Time of the first and of the last entry.
    """

    organisation: str
    federation: str
    authority: str
    size: int
    root: bytes
    witnessed: int
    witnesses: tuple[str, ...]
    quorum: int
    others: int
    kinds: dict[str, int]
    replay: Replay
    leaves: Sequence[bytes]
    rosters: tuple[Roster, ...]
    decisions: tuple[dict[str, Any], ...] = ()
    orders: tuple[dict[str, Any], ...] = ()
    stamps: tuple[dict[str, Any], ...] = ()
    span: tuple[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Signed:
    """The parts of a bundle that are signed, verified."""

    rosters: dict[str, Roster]
    epochs: list[Roster]
    newest: Roster
    keys: LogKeys
    witnesses: dict[str, list[LogKeys]]
    checkpoints: list[Checkpoint]


def audit(bundle: Bundle, expected: Expectations | None = None) -> Findings:
    """Verify a bundle.

    Raises:
        LedgerBroken: An entry is missing, changed, out of place or against the rules; its number.
        SignatureInvalid: A signature is missing or wrong, or too few witnesses cosigned.
        VerificationFailed: Another authority, federation or log than expected.
        MessageInvalid: A part is not decodable.
    """
    expected = expected or Expectations()
    signed = _signed(bundle, expected.authority)
    head = signed.checkpoints[-1]
    actual = [leaf_hash(entry) for entry in bundle.entries]
    _check_tree(bundle, signed.checkpoints, actual)
    _check_against_earlier(bundle, signed, expected, actual)
    replay, kinds, span = _replayed(bundle, signed, expected.progress)
    witnessed, witnesses, others = _witnessed(signed, replay)
    quorum = quorum_of(others)
    if witnessed == 0 and expected.witnessed:
        most = max((len(_cosigners(signed, c, replay)) for c in signed.checkpoints), default=0)
        msg = f"No checkpoint of {head.origin} is cosigned by {quorum} of {others} organisations."
        hint = f"The most that cosigned one is {most}. Export again when the others have answered."
        raise SignatureInvalid(msg, hint=hint)
    return Findings(
        organisation=bundle.organisation,
        federation=bundle.federation,
        authority=bundle.authority,
        size=head.size,
        root=head.root,
        witnessed=witnessed,
        witnesses=witnesses,
        quorum=quorum,
        others=others,
        kinds=dict(sorted(kinds.items())),
        replay=replay,
        leaves=actual,
        rosters=tuple(signed.epochs),
        span=span,
    )


# ------------------------------------------------------------------------------ signatures


def _signed(bundle: Bundle, authority: VerifyKey | None) -> _Signed:
    key = authority or VerifyKey.from_hex(bundle.authority)
    if key.hex != bundle.authority:
        msg = "The bundle is of a federation with another authority."
        raise VerificationFailed(msg, hint="Is it the right bundle, and the right key?")
    rosters = {hashlib.sha256(data).hexdigest(): open_roster(data, key) for data in bundle.rosters}
    if not rosters or {r.federation for r in rosters.values()} != {bundle.federation}:
        raise VerificationFailed("The bundle has no roster of its federation.")
    epochs = _chained(rosters)
    newest = epochs[-1]
    stated: dict[str, list[LogKeys]] = {}
    for data in bundle.keys:
        keys = open_stated_keys(data, epochs)
        stated.setdefault(keys.organisation, []).append(keys)
    checkpoints = sorted(map(parse, bundle.checkpoints), key=lambda c: (c.size, c.root))
    return _Signed(
        rosters=rosters,
        epochs=epochs,
        newest=newest,
        keys=_own_keys(bundle, stated.get(bundle.organisation, []), checkpoints),
        witnesses={n: k for n, k in stated.items() if n not in {bundle.organisation, AUTHORITY}},
        checkpoints=checkpoints,
    )


def _chained(rosters: Mapping[str, Roster]) -> list[Roster]:
    """Return the epochs in their order, once each is found to follow the one before.

    Keys change only by the signed requests that the later epoch carries; nobody is forgotten.
    """
    epochs = sorted(rosters.values(), key=lambda roster: roster.epoch)
    for before, after in itertools.pairwise(epochs):
        newer(before, after)
    return epochs


def _own_keys(bundle: Bundle, stated: list[LogKeys], checkpoints: list[Checkpoint]) -> LogKeys:
    """Return the keys under which the log signed every one of its checkpoints."""
    origin = origin_of(bundle.federation, bundle.organisation)
    if not checkpoints or any(c.origin != origin for c in checkpoints):
        raise VerificationFailed(f"The bundle has no checkpoint of {origin}, or others than that.")
    failure: FusionError = SignatureInvalid(f"Nothing states the log key of {origin}.")
    for keys in stated:
        try:
            for checkpoint in checkpoints:
                checkpoint.verify_log(keys.log)
        except SignatureInvalid as error:
            failure = error
        else:
            return keys
    raise failure


def _cosigners(signed: _Signed, checkpoint: Checkpoint, replay: Replay) -> tuple[str, ...]:
    """Return the members, at this place of the log, whose cosignatures verify."""
    found = []
    for member in _others(signed, checkpoint.size, replay):
        for keys in signed.witnesses.get(member, []):
            try:
                checkpoint.verify_witness(keys.origin, keys.witness)
            except SignatureInvalid:
                continue
            found.append(member)
            break
    return tuple(found)


def _others(signed: _Signed, size: int, replay: Replay) -> list[str]:
    """Return the other members under the roster that held when the log had this size."""
    before = [digest for number, digest in replay.epochs.values() if number < size]
    roster = signed.rosters[before[-1]] if before else signed.newest
    return [m.id for m in roster.active if m.id != signed.keys.organisation]


def _witnessed(signed: _Signed, replay: Replay) -> tuple[int, tuple[str, ...], int]:
    """Return the size of the newest checkpoint with a quorum, who cosigned it, of how many."""
    for checkpoint in reversed(signed.checkpoints):
        others = len(_others(signed, checkpoint.size, replay))
        cosigners = _cosigners(signed, checkpoint, replay)
        if len(cosigners) >= quorum_of(others):
            return checkpoint.size, cosigners, others
    head = signed.checkpoints[-1]
    return 0, (), len(_others(signed, head.size, replay))


# ------------------------------------------------------------------------------ the tree


def _check_tree(bundle: Bundle, checkpoints: list[Checkpoint], actual: list[bytes]) -> None:
    """Check that the entries are those under the checkpoints; find the first that is not."""
    sizes = {checkpoint.size for checkpoint in checkpoints}
    roots = roots_of(actual, sizes)
    fitting = all(roots.get(c.size) == c.root for c in checkpoints)
    head = checkpoints[-1]
    if fitting and len(actual) == head.size and actual == list(bundle.leaves):
        return
    raise _located(bundle.leaves, checkpoints, actual)


def _located(
    listed: Sequence[bytes], checkpoints: list[Checkpoint], actual: list[bytes]
) -> LedgerBroken:
    """Return the error that names the first bad entry.

    The listed hashes are right up to the largest checkpoint whose root they give. Below it, the
    first entry with another hash is the first bad one. Above it nothing tells entries apart.
    """
    head = checkpoints[-1]
    roots = roots_of(listed, {c.size for c in checkpoints})
    sure, doubtful = 0, head.size
    for checkpoint in checkpoints:
        if roots.get(checkpoint.size) != checkpoint.root:
            doubtful = checkpoint.size
            break
        sure = doubtful = checkpoint.size
    for number, (found, logged) in enumerate(zip(actual, listed[:sure], strict=False)):
        if found != logged:
            return LedgerBroken(f"Entry {number} is not the one that was logged.", index=number)
    if len(actual) < doubtful:
        number = len(actual)
        msg = f"Entry {number} and what follows are missing; the log has {head.size} entries."
        return LedgerBroken(msg, index=number)
    if sure == head.size:
        number = min(len(actual), len(listed), head.size)
        msg = f"Entry {number} and what follows are under no checkpoint: they were added."
        return LedgerBroken(msg, index=number)
    msg = f"One of the entries {sure} to {doubtful - 1} is not the one that was logged."
    hint = "Its hash was changed with it; the checkpoints before and after say no more than this."
    return LedgerBroken(msg, index=sure, hint=hint)


def _check_against_earlier(
    bundle: Bundle, signed: _Signed, expected: Expectations, actual: list[bytes]
) -> None:
    """Check that the log extends what the auditor saw of it before."""
    if expected.earlier is not None:
        earlier = [leaf_hash(entry) for entry in expected.earlier.entries]
        before = _signed(expected.earlier, expected.authority)
        _check_tree(expected.earlier, before.checkpoints, earlier)
        if before.keys.log_id != signed.keys.log_id:
            raise VerificationFailed("The earlier bundle is of another log, or under another key.")
        for number, (now, then) in enumerate(zip(actual, earlier, strict=False)):
            if now != then:
                msg = f"Entry {number} is not the one of the earlier bundle: the log forked there."
                raise LedgerBroken(msg, index=number)
        _check_not_back(bundle, len(earlier), len(actual))
    if expected.since is not None:
        since = expected.since
        if since.origin != signed.keys.origin:
            raise VerificationFailed(f"The earlier checkpoint is of {since.origin}.")
        since.verify_log(signed.keys.log)
        _check_not_back(bundle, since.size, len(actual))
        if roots_of(actual, {since.size})[since.size] != since.root:
            same = [c.size for c in signed.checkpoints if c.size < since.size]
            msg = (
                f"The log has another history of its first {since.size} entries than when the "
                "earlier checkpoint was signed: it forked, or was put back and went on."
            )
            hint = "An earlier bundle instead of a checkpoint shows which entry is the first."
            hint = f"{hint} Checkpoints of its own: {', '.join(map(str, same[-3:])) or 'none'}."
            raise LedgerBroken(msg, index=0, hint=hint)


def _check_not_back(bundle: Bundle, before: int, now: int) -> None:
    if now < before:
        msg = (
            f"The log of {bundle.organisation} has gone back: it had {before} entries and has "
            f"{now}. Entry {now} and what followed are gone."
        )
        hint = "It was put back from a backup, or cut. Ask for the entries that are missing."
        raise LedgerBroken(msg, index=now, hint=hint)


# ------------------------------------------------------------------------------ the entries


def _replayed(
    bundle: Bundle, signed: _Signed, progress: Callable[[int], None]
) -> tuple[Replay, Counter[str], tuple[str, str]]:
    """Read every entry and hold it to the rules."""
    replay = Replay(signed.keys, _first_statement_key(bundle, signed))
    stated = {keys: data for data in bundle.keys for keys in [_claimed(data, signed)]}
    kinds: Counter[str] = Counter()
    first = last = ""
    for number, data in enumerate(bundle.entries):
        try:
            entry = decode(data)
        except MessageInvalid as error:
            msg = f"Entry {number} is none: {error.message}"
            raise LedgerBroken(msg, index=number) from None
        replay.feed(entry)
        if isinstance(entry, LogSeen):
            _check_log_seen(entry, number, replay, signed, stated)
        kinds[entry.kind] += 1
        first, last = first or entry.at, entry.at
        if number % _STEP == 0:
            progress(number)
    for epoch in replay.epochs:
        _epoch(epoch, replay, signed)
    progress(len(bundle.entries))
    return replay, kinds, (first, last)


def _epoch(epoch: int, replay: Replay, signed: _Signed) -> Roster:
    """Return the roster of an epoch that an entry names."""
    number, digest = replay.epochs[epoch]
    roster = signed.rosters.get(digest)
    if roster is None or roster.epoch != epoch:
        msg = f"Entry {number} names a roster of epoch {epoch} that the bundle does not have."
        raise LedgerBroken(msg, index=number)
    return roster


def _first_statement_key(bundle: Bundle, signed: _Signed) -> str:
    """Return the statement key under which a log was begun: that of the first epoch in it."""
    if bundle.organisation == AUTHORITY:
        return signed.newest.authority_key.hex
    for roster in signed.epochs:
        for member in roster.members:
            if member.id == bundle.organisation:
                return member.statement_key.hex
    return signed.newest.listed(bundle.organisation).statement_key.hex


def _claimed(data: bytes, signed: _Signed) -> tuple[str, str, str]:
    keys = open_stated_keys(data, signed.epochs)
    return keys.organisation, keys.log.hex, keys.witness.hex


def _check_log_seen(
    entry: LogSeen,
    number: int,
    replay: Replay,
    signed: _Signed,
    stated: Mapping[tuple[str, str, str], bytes],
) -> None:
    """Judge the statement that an entry goes back to by the roster in force at its place."""
    if not replay.epochs:
        raise LedgerBroken(f"Entry {number} is before any roster.", index=number)
    data = stated.get((entry.organisation, entry.log_key, entry.witness_key))
    if data is None:
        msg = f"Entry {number} goes back to a statement of {entry.organisation} that is not there."
        raise LedgerBroken(msg, index=number)
    roster = _epoch(max(replay.epochs), replay, signed)
    try:
        open_log_keys(data, roster)
    except (VerificationFailed, MemberRevoked) as error:
        msg = (
            f"Entry {number} takes a statement of {entry.organisation} that does not hold in "
            f"epoch {roster.epoch}: {error.message}"
        )
        raise LedgerBroken(msg, index=number) from None


# ------------------------------------------------------------------------------ several logs


def compare(found: Sequence[Findings]) -> None:
    """Check several logs of one federation against each other.

    An order was taken for one job. What a holder opened is what the hub's log says was to be
    opened, under checkpoints that are of this very log of the hub; and what the hub counted in is
    what its contributor released.

    Raises:
        LedgerBroken: Two logs contradict each other; the entry in the first named.
        VerificationFailed: They are of several federations.
        UnknownOrganisation: A log is given twice.
    """
    if len({(f.federation, f.authority) for f in found}) > 1:
        raise VerificationFailed("The bundles are of different federations.")
    by_name = {f.organisation: f for f in found}
    if len(by_name) != len(found):
        raise UnknownOrganisation("Two bundles are of one organisation.")
    hub = by_name.pop(AUTHORITY, None)
    _compare_orders(by_name)
    if hub is None:
        return
    for name, node in by_name.items():
        _compare_openings(name, node.replay, hub.replay)
        _compare_checkpoints(name, node.replay, hub)
        for vector, (number, contributor) in hub.replay.summed.items():
            if contributor == name and vector not in node.replay.contributed:
                msg = (
                    f"Entry {number} of the hub's log counts a contribution of {name} that the "
                    "log there does not know."
                )
                raise LedgerBroken(msg, index=number)


def _compare_orders(nodes: Mapping[str, Findings]) -> None:
    """Check that nobody was shown an order for one job that somebody was shown for another."""
    jobs: dict[str, tuple[str, str]] = {}
    for name, node in nodes.items():
        for order, (number, job) in node.replay.ordered.items():
            where, other = jobs.setdefault(order, (name, job))
            if other != job:
                msg = (
                    f"Entry {number} of the log of {name} takes an order for {job} that {where} "
                    f"took for {other}: it was for one run."
                )
                raise LedgerBroken(msg, index=number)


def _compare_checkpoints(name: str, node: Replay, hub: Findings) -> None:
    """Check that the hub showed a holder the log that it shows the auditor."""
    relied = [(number, seen) for number, seen in node.relied if seen.organisation == AUTHORITY]
    roots = roots_of(hub.leaves, {seen.size for _, seen in relied})
    for number, seen in relied:
        found = roots.get(seen.size)
        if found is None or found.hex() != seen.root:
            msg = (
                f"Entry {number} of the log of {name} relied on a checkpoint of {seen.size} "
                "entries of the hub's log that is not of the log that the hub shows here."
            )
            hint = "The hub showed two histories, was put back from a backup, or exported before."
            raise LedgerBroken(msg, index=number, hint=hint)


def _compare_openings(name: str, node: Replay, hub: Replay) -> None:
    for where, (number, opening, contributions) in node.openings.items():
        at_hub = hub.openings.get(where)
        if at_hub is None or (at_hub[1], set(at_hub[2])) != (opening, set(contributions)):
            msg = (
                f"Entry {number} of the log of {name} opens a sum of {where[0]}, round {where[1]}, "
                "that the hub's log does not have so."
            )
            raise LedgerBroken(msg, index=number)
