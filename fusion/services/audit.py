"""Auditing exported logs from their files: needs no hub, no node, no network."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from fusion.errors import InputInvalid
from fusion.grants.replay import replay
from fusion.ledger import bundle as bundles
from fusion.ledger.bundle import MAX_BUNDLE_BYTES, Bundle
from fusion.ledger.checkpoint import MAX_NOTE_BYTES, parse
from fusion.ledger.verify import Expectations, Findings, audit, compare
from fusion.services.stamps import stamps_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from cryptography.x509 import Certificate

_MAX_LINE_BYTES: Final = 1 << 30
_MAX_SUMS: Final = 500
"""Sums listed one by one in a document: the newest."""


def read_bundle(path: Path) -> Bundle:
    """Read a bundle's file.

    Raises:
        InputInvalid: It can't be read, or is too large.
        MessageInvalid: It is no bundle.
        LedgerBroken: It ends within an entry.
    """
    try:
        if path.stat().st_size > MAX_BUNDLE_BYTES:
            raise InputInvalid(f"{path} is larger than {MAX_BUNDLE_BYTES} bytes.")
        return bundles.read(_lines(path))
    except OSError as error:
        raise InputInvalid(f"{path} can't be read: {error.strerror}.") from error


def _lines(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while line := file.readline(_MAX_LINE_BYTES):
            yield line


def since(path: Path, expected: Expectations) -> Expectations:
    """Add what was seen before: a bundle, or a checkpoint on its own.

    Raises:
        InputInvalid: The file can't be read.
        MessageInvalid: It is neither.
    """
    try:
        with path.open("rb") as file:
            start = file.read(MAX_NOTE_BYTES + 1)
    except OSError as error:
        raise InputInvalid(f"{path} can't be read: {error.strerror}.") from error
    if start.startswith(b"{"):
        return replace(expected, earlier=read_bundle(path))
    return replace(expected, since=parse(start))


def audit_all(
    paths: Sequence[Path],
    expected: Expectations,
    show: Callable[[str], None] = lambda _: None,
    tsa: Sequence[Certificate] = (),
) -> list[Findings]:
    """Audit bundles, each for itself and then against each other.

    Args:
        paths: Their files.
        expected: What the auditor knows.
        show: Told how far it is.
        tsa: Certificates of a time stamp authority that the auditor knows.

    Raises:
        VerificationFailed: As :func:`fusion.ledger.verify.audit` and ``compare`` say.
        InputInvalid: A file can't be read.
    """
    found = []
    for path in paths:
        show(path.name)
        bundle = read_bundle(path)
        total = max(1, len(bundle.entries))

        def progress(done: int, name: str = path.name, total: int = total) -> None:
            show(f"{name} {done:,} of {total:,} entries")

        found.append(audit_whole(bundle, replace(expected, progress=progress), tsa))
    compare(found)
    return found


def audit_whole(bundle: Bundle, expected: Expectations, tsa: Sequence[Certificate]) -> Findings:
    """Audit a bundle, make its decisions again, and verify its time stamps.

    Raises:
        VerificationFailed: As :func:`fusion.ledger.verify.audit` says.
        LedgerBroken: A decision does not follow, or a stamp is of another history; its number.
        SignatureInvalid: A stamp is not signed by the authority.
    """
    found = audit(bundle, expected)
    again = replay(bundle, found.rosters)
    return replace(
        found,
        decisions=tuple(again.made),
        orders=tuple(again.orders),
        stamps=tuple(stamp.to_json() for stamp in stamps_of(bundle, tsa)),
    )


def as_document(found: Findings) -> dict[str, Any]:
    """Return findings as ``--json`` prints them."""
    logged = found.replay
    return {
        "organisation": found.organisation,
        "federation": found.federation,
        "authority": found.authority,
        "entries": found.size,
        "root": found.root.hex(),
        "witnessed": found.witnessed,
        "witnesses": list(found.witnesses),
        "quorum": found.quorum,
        "others": found.others,
        "first_at": found.span[0],
        "last_at": found.span[1],
        "kinds": found.kinds,
        "epochs": sorted(logged.epochs),
        "openings": len(logged.openings),
        "sums": [
            {
                "job": job,
                "round": number,
                "entry": entry,
                "opening": opening,
                "contributions": len(contributions),
            }
            for (job, number), (entry, opening, contributions) in list(logged.openings.items())[
                -_MAX_SUMS:
            ]
        ],
        "decisions": list(found.decisions[-_MAX_SUMS:]),
        "orders": list(found.orders[-_MAX_SUMS:]),
        "stamps": list(found.stamps),
        "notices": logged.notices,
    }
