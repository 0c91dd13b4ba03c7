"""What it adds to a round that holders open only what is in a witnessed log.

``python -m benchmarks.evidence [--rounds 50] [--folder DIR]``

A hub and four parties with logs on disk do, in one process, what a round adds: the list is logged
and announced, each party cosigns, three holders are shown the proof and check it. Between machines
the parties work at the same time, and nothing takes a message of its own.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from federated.anchors import Anchors
from federated.cohort import Reply
from federated.notary import Notary, cosign
from federated.protocols.statements import ContributionList, ListEntry, RoundManifest
from fusion.crypto.sealing import SealingKey
from fusion.crypto.signing import SigningKey
from fusion.identity.members import AUTHORITY, Member, PublicKeys
from fusion.identity.roster import Roster
from fusion.ledger import entry as entries
from fusion.ledger.entry import opening_digest
from fusion.services.clock import SystemClock
from fusion.services.logbook import LogBook
from fusion.stores.ledger import SqliteLedger
from fusion.types import OrgId

if TYPE_CHECKING:
    from collections.abc import Callable

NAMES = tuple(map(OrgId, ("east", "north", "south", "west")))
HOLDERS = 3
_T = TypeVar("_T")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--folder", type=Path, default=None)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        _measure(Path(folder), options.rounds)


def _measure(folder: Path, rounds: int) -> None:
    hub, keys = SigningKey.generate(), {name: SigningKey.generate() for name in NAMES}
    books = {name: _book(folder, name, key) for name, key in keys.items()}
    roster = _roster(hub, keys, books)
    notary = Notary(_book(folder, AUTHORITY, hub), roster, NAMES)
    holders = [Anchors(books[name], roster, NAMES) for name in NAMES[:HOLDERS]]
    spent: dict[str, list[float]] = {}
    size = 0
    for number in range(rounds):
        manifest, listed = _round(number)
        key = f"round {number}"
        log = partial(_log, notary, key, _entry(manifest, listed))
        announced = _timed(spent, "hub: log and announce", log)
        for name in NAMES:
            sign = partial(cosign, books[name], roster, announced)
            reply = Reply(name, _timed(spent, "party: cosign", sign))
            _timed(spent, "hub: take a cosignature", partial(notary.take, reply))
        shown = _timed(spent, "hub: prove", partial(notary.anchor, key))
        anchor = (shown or "").encode()
        size = len(anchor)
        for holder in holders:
            check = partial(holder.check, manifest, listed, anchor)
            _timed(spent, "holder: check", check)
    for what, times in spent.items():
        print(f"{what:<28}{1000 * sorted(times)[len(times) // 2]:>9.2f} ms")
    print(f"{'shown to a holder':<28}{size / 1024:>9.1f} KiB")


def _log(notary: Notary, key: str, entry: entries.RoundListed) -> str:
    notary.log(key, entry)
    return notary.announce()


def _timed(spent: dict[str, list[float]], what: str, work: Callable[[], _T]) -> _T:
    began = time.perf_counter()
    result = work()
    spent.setdefault(what, []).append(time.perf_counter() - began)
    return result


def _book(folder: Path, name: str, key: SigningKey) -> LogBook:
    return LogBook(
        SqliteLedger(folder / f"{name}.sqlite"),
        name,
        statement_key=key,
        log_key=SigningKey.generate(),
        witness_key=SigningKey.generate(),
        clock=SystemClock(),
    )


def _roster(hub: SigningKey, keys: dict[OrgId, SigningKey], books: dict[OrgId, LogBook]) -> Roster:
    members = tuple(
        Member(
            id=name,
            name="",
            keys=PublicKeys(
                statement_key=key.public,
                sealing_key=SealingKey.generate().public,
                fleet_key=f"measured:{name}",
                log_key=books[name].public[0],
                witness_key=books[name].public[1],
                ca=f"measured:{name}".encode(),
            ),
            admitted_at="2026-01-01T00:00:00Z",
            valid_from="2026-01-01T00:00:00Z",
        )
        for name, key in keys.items()
    )
    return Roster(federation="measured", epoch=1, authority_key=hub.public, members=members)


def _round(number: int) -> tuple[RoundManifest, ContributionList]:
    digest = f"{number:064x}"
    manifest = RoundManifest(
        job="job", study=digest, round=number, attempt=1, purpose="train", key=digest,
        layout=digest, contributors=4, quorum=3, model=digest,
    )  # fmt: skip
    listed = [ListEntry(organisation=name, commitment=digest) for name in NAMES]
    return manifest, ContributionList(manifest=manifest.digest().hex(), entries=listed)


def _entry(manifest: RoundManifest, listed: ContributionList) -> entries.RoundListed:
    return entries.RoundListed(
        at="2026-01-01T00:00:00.000Z",
        job=manifest.job,
        round=manifest.round,
        attempt=manifest.attempt,
        manifest=manifest.digest().hex(),
        listing=listed.digest().hex(),
        opening=opening_digest(manifest.digest(), listed.digest()).hex(),
        contributors=listed.organisations(),
        commitments=tuple(each.commitment for each in listed.entries),
    )


if __name__ == "__main__":
    main()
