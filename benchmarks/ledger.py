"""The log's rates: single appends, batches, proofs, and the audit of an exported bundle.

``python -m benchmarks.ledger [--entries 100000] [--folder DIR]``

A single append waits for the disk: its rate is shown beside what the same disk does for a bare
write and fsync.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

from fusion.ledger import entry, merkle
from fusion.ledger.entry import encode
from fusion.ledger.verify import Expectations
from fusion.services import hub, node, rosters
from fusion.services.audit import audit_all
from fusion.services.files import write_atomic
from fusion.services.homes import HubHome
from fusion.services.ledger import Book
from fusion.stores.ledger import SqliteLedger
from fusion.stores.rounds import SqliteRoundLog


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--entries", type=int, default=100_000)
    parser.add_argument("--folder", type=Path, default=None)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        _measure(Path(folder), options.entries)


def _measure(folder: Path, count: int) -> None:
    data = [_sample(number) for number in range(count)]
    print(f"fsyncs of the disk    {_fsyncs(folder / 'bare'):>12,.0f} a second")
    ledger = SqliteLedger(folder / "single.sqlite")
    began = time.perf_counter()
    singles = 0
    while time.perf_counter() - began < 3:
        ledger.append([data[singles % count]])
        singles += 1
    print(f"single appends        {singles / (time.perf_counter() - began):>12,.0f} a second")
    rounds = SqliteRoundLog(folder / "rounds.sqlite")
    began = time.perf_counter()
    opened = 0
    while time.perf_counter() - began < 3:
        name = opened.to_bytes(32, "big")
        rounds.consume("job", opened, name, [name], data[opened % count])
        opened += 1
    print(f"sums opened, logged   {opened / (time.perf_counter() - began):>12,.0f} a second")
    ledger = SqliteLedger(folder / "batches.sqlite")
    began = time.perf_counter()
    for first in range(0, count, 1000):
        ledger.append(data[first : first + 1000])
    print(f"in batches of 1,000   {count / (time.perf_counter() - began):>12,.0f} a second")
    began = time.perf_counter()
    root = ledger.root(count)
    for index in range(0, count, max(1, count // 200)):
        proof = ledger.inclusion_proof(index, count)
        merkle.verify_inclusion(merkle.leaf_hash(data[index]), index, count, proof, root)
    print(f"proved and verified   {200 / (time.perf_counter() - began):>12,.0f} a second")
    _audit(folder, count)


def _audit(folder: Path, count: int) -> None:
    """Export a node's log of this length, as an auditor gets it, and audit it."""
    hub.init(folder / "hub", address="127.0.0.1:0")
    home = HubHome.open(folder / "hub")
    made = node.init(folder / "node", hub=str(home.invitation), org="node.example")
    rosters.admit(home, made.request.read_bytes())
    write_atomic(made.ca, home.ca.read_bytes())
    write_atomic(made.trust_file, home.trust_file.read_bytes())
    made.keep_epoch(home.roster(), home.roster_file.read_bytes())
    book = Book(made)
    book.see_roster()
    data = [
        encode(
            entry.StudyAgreed(
                at="2026-01-01T00:00:00.000Z", job="job-1", study="0" * 64, key="0" * 64, order=""
            )
        ),
        *(_sample(number) for number in range(count - 3)),
    ]
    for first in range(0, len(data), 1000):
        book.ledger.append(data[first : first + 1000])
    began = time.perf_counter()
    book.export(folder / "bundle")
    exported = time.perf_counter()
    found = audit_all([folder / "bundle"], Expectations(witnessed=False))
    done = time.perf_counter()
    size = (folder / "bundle").stat().st_size
    print(f"exported              {exported - began:>12.2f} s, {size / 2**20:.0f} MiB")
    print(f"audit of {found[0].size:,} entries {done - exported:>8.2f} s")


def _fsyncs(path: Path) -> float:
    with path.open("wb") as file:
        began = time.perf_counter()
        for number in range(200):
            file.write(bytes([number % 256]) * 512)
            file.flush()
            os.fsync(file.fileno())
        return 200 / (time.perf_counter() - began)


def _sample(number: int) -> bytes:
    digest = f"{number:064x}"
    return entry.encode(
        entry.RoundContributed(
            at="2026-01-01T00:00:00.000Z", job="job-1", round=number % 2**31, attempt=1,
            manifest=digest, vector=digest, listing=digest,
        )
    )  # fmt: skip


if __name__ == "__main__":
    main()
