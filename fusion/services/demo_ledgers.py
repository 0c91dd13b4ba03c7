"""The end of the demo: all logs cosigned, exported and audited, with everything stopped."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any, Final

from fusion.errors import PartyUnreachable
from fusion.services.files import make_folder
from fusion.services.ledger import Book, home_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from fusion.services.processes import Children

_LOOK_SECONDS: Final = 0.2
_WITNESS_SECONDS: Final = 90.0
_VERB_SECONDS: Final = 120.0


def await_witnesses(hub: Path, nodes: Sequence[Path], job: str, children: Children) -> None:
    """Wait until every log, with the end of the job in it, is cosigned by a quorum.

    Args:
        hub: The hub's folder.
        nodes: The nodes' folders.
        job: The job that has ended.
        children: The processes of the federation, which are up.

    Raises:
        PartyUnreachable: It took too long; says whose log is not.
        PartyFailed: One of the processes ended meanwhile.
    """
    books = [Book(home_of(folder)) for folder in (hub, *nodes)]
    until = time.monotonic() + _WITNESS_SECONDS
    while waiting := [book for book in books if not _settled(book, job, book is books[0])]:
        children.check()
        if time.monotonic() > until:
            names = ", ".join(book.organisation for book in waiting)
            msg = f"No quorum has cosigned after {_WITNESS_SECONDS:.0f} s: {names}."
            raise PartyUnreachable(msg)
        time.sleep(_LOOK_SECONDS)


def _settled(book: Book, job: str, hub: bool) -> bool:  # noqa: FBT001 - one of two kinds
    if hub and not book.ledger.has(f"job:{job}:ended"):
        return False
    return book.witnessed(book.see_roster()) == book.ledger.size()


def export_and_audit(
    hub: Path, nodes: Sequence[Path], folder: Path, children: Children
) -> dict[str, Any]:
    """Export all logs and have them audited together, by the verbs that an auditor uses.

    Args:
        hub: The hub's folder.
        nodes: The nodes' folders.
        folder: Where the bundles go.
        children: Starts the verbs; nothing else runs any more.

    Returns:
        What ``fusion audit --json`` prints.

    Raises:
        PartyFailed: A verb failed, the audit because a log does not hold together.
    """
    make_folder(folder)
    files = [folder / f"{home.name}.bundle" for home in (hub, *nodes)]
    exporting = [
        children.start(f"{home.name}-export", "ledger", "export", home, "--out", file)
        for home, file in zip((hub, *nodes), files, strict=True)
    ]
    children.finish(exporting, seconds=_VERB_SECONDS)
    authority = Book(home_of(hub)).see_roster().authority_key.hex
    auditing = children.start("audit", "audit", *files, "--authority", authority, "--json")
    printed: dict[str, Any] = json.loads(children.finish([auditing], seconds=_VERB_SECONDS)[0])
    return {key: value for key, value in printed.items() if key != "schema"}
