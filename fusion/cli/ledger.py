"""``fusion ledger`` and ``fusion audit``: what was logged, and whether it holds together."""

# ruff: noqa: PLC0415 - a verb imports when it runs: --help stays quick, and so do light verbs

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fusion.cli import output
from fusion.cli.options import Json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fusion.ledger.entry import Entry
    from fusion.ledger.verify import Findings

app = typer.Typer(help="Show, check and export an organisation's log.", no_args_is_help=True)

_SHORT = 12
_LISTED = 3

Folder = Annotated[
    Path,
    typer.Argument(
        metavar="DIR",
        envvar="FUSION_HOME",
        show_envvar=False,
        help="A hub's or node's folder, else $FUSION_HOME or this one.",
    ),
]
Since = Annotated[
    Path | None,
    typer.Option(
        "--since",
        metavar="FILE",
        help="A bundle or checkpoint of this log from before: it may only have grown since.",
    ),
]


TsaCertificate = Annotated[
    Path | None,
    typer.Option(
        "--tsa-certificate",
        metavar="FILE",
        help="Certificates (PEM) of the time stamp authority that you trust.",
    ),
]


@app.command("show")
def show(
    folder: Folder = Path(),
    *,
    last: Annotated[int, typer.Option(metavar="N", min=1, help="Only the newest N.")] = 50,
    kind: Annotated[str, typer.Option(help="Only entries of this kind.")] = "",
    as_json: Json = False,
) -> None:
    """Show the entries of a log: digests and metadata, never data."""
    from fusion.ledger.entry import decode
    from fusion.services.ledger import home_of
    from fusion.services.storage import open_ledger

    # Neither key nor lock is needed to read it.
    ledger = open_ledger(home_of(folder))
    size = ledger.size()
    found: list[tuple[int, Entry]] = []
    step = max(last, 1000)
    for stop in range(size, 0, -step):
        start = max(0, stop - step)
        read = [(n, decode(d)) for n, d in enumerate(ledger.entries(start, stop), start)]
        found = [item for item in read if kind in {"", item[1].kind}] + found
        if len(found) >= last:
            break
    found = found[-last:]
    if as_json:
        content = [{"number": number, **entry.model_dump()} for number, entry in found]
        output.document("fusion.ledger/1", {"size": size, "entries": content})
        return
    rows = [(str(n), e.at[:19].replace("T", " "), e.kind, _said(e)) for n, e in found]
    widths = [max((len(row[i]) for row in rows), default=0) for i in range(3)]
    for number, at, name, said in rows:
        output.result(f"{number:>{widths[0]}}  {at}  {name:<{widths[2]}}  {output.clean(said)}")
    output.note(f"{len(found)} of {size} entries")


def _said(entry: Entry) -> str:
    """Return what an entry says, digests shortened."""
    from fusion.ledger.entry import fields

    return "  ".join(
        f"{name} {_value(value)}" for name, value in fields(entry).items() if value != ""
    )


def _value(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        more = f" and {len(value) - _LISTED} more" if len(value) > _LISTED else ""
        return ",".join(_value(item) for item in value[:_LISTED]) + more
    text = str(value)
    return f"{text[:_SHORT]}…" if len(text) == 64 else text


@app.command("verify")
def verify(folder: Folder = Path(), *, earlier: Since = None, as_json: Json = False) -> None:
    """Check the log in a folder: hashes, checkpoints, rules, and who has cosigned it."""
    from fusion.ledger.verify import Expectations
    from fusion.services import audit as service
    from fusion.services.ledger import Book, home_of

    book = Book(home_of(folder))
    with output.progress("verifying") as told:
        expected = Expectations(witnessed=False, progress=lambda done: told(f"{done:,} entries"))
        if earlier is not None:
            expected = service.since(earlier, expected)
        found = service.audit_whole(book.bundle(keep=False), expected, ())
    if as_json:
        output.document("fusion.ledger-verified/1", service.as_document(found))
        return
    _report([found])
    if not found.witnessed:
        output.note("no quorum of other organisations has cosigned this log yet")


@app.command("export")
def export(
    folder: Folder = Path(),
    *,
    out: Annotated[Path, typer.Option(metavar="FILE", help="Where the bundle goes.")],
    as_json: Json = False,
) -> None:
    """Write the log as a bundle for an auditor: entries, checkpoints, keys, rosters."""
    from fusion.services.ledger import Book, home_of

    book = Book(home_of(folder))
    bundle = book.export(out)
    witnessed = book.witnessed(book.see_roster())
    content = {
        "file": str(out),
        "organisation": bundle.organisation,
        "entries": len(bundle.entries),
        "witnessed": witnessed,
    }
    if as_json:
        output.document("fusion.ledger-export/1", content)
        return
    output.result(str(out))
    output.note(f"{len(bundle.entries)} entries, the first {witnessed} cosigned by a quorum")


@app.command("stamp")
def stamp(
    folder: Folder = Path(),
    *,
    tsa_url: Annotated[
        str, typer.Option("--tsa-url", metavar="URL", help="Ask this authority.")
    ] = "",
    request: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the request to a file instead.")
    ] = None,
    response: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Take over the authority's response.")
    ] = None,
    tsa: TsaCertificate = None,
    as_json: Json = False,
) -> None:
    """Have a time stamp authority (RFC 3161) say when the log had its newest checkpoint.

    Without a way out of this network: --request here, the authority elsewhere, --response here.
    """
    from fusion.cli.files import check_writable, read_bounded
    from fusion.errors import InputInvalid
    from fusion.services import stamps
    from fusion.services.files import write_atomic
    from fusion.services.ledger import Book, home_of

    if sum(given for given in (bool(tsa_url), request is not None, response is not None)) != 1:
        raise InputInvalid("Give one of --tsa-url, --request and --response.")
    check_writable(request)
    known = stamps.certificates(tsa) if tsa is not None else []
    with Book(home_of(folder)) as book:
        if request is not None:
            head, query = stamps.request(book)
            write_atomic(request, query, 0o644)
            content = {"file": str(request), "size": head.size, "root": head.root.hex()}
            if as_json:
                output.document("fusion.ledger-stamp-request/1", content)
                return
            output.result(str(request))
            output.note(f"asks for the time of {head.size:,} entries; bring back the response")
            return
        if response is not None:
            data = read_bounded(response, stamps.MAX_RESPONSE_BYTES)
        else:
            data = stamps.ask(tsa_url, stamps.request(book)[1])
        kept = stamps.keep(book, data, known)
    if as_json:
        output.document("fusion.ledger-stamp/1", kept.to_json())
        return
    output.result(f"{kept.size:,} entries were there at {kept.at}")
    if not kept.verified:
        output.note("not verified: name the authority's certificate with --tsa-certificate")


def audit(
    bundles: Annotated[
        list[Path], typer.Argument(metavar="BUNDLE", help="Made by fusion ledger export.")
    ],
    *,
    authority: Annotated[
        str,
        typer.Option(
            metavar="HEX", help="The data authority's key, as fusion hub status shows it."
        ),
    ] = "",
    earlier: Since = None,
    unwitnessed: Annotated[
        bool, typer.Option("--unwitnessed", help="Take a log that no quorum has cosigned.")
    ] = False,
    tsa: TsaCertificate = None,
    as_json: Json = False,
) -> None:
    """Check exported logs offline, each for itself and against each other.

    Ends with exit code 5 and the number of the first bad entry if anything was changed.
    """
    from fusion.crypto.signing import VerifyKey
    from fusion.errors import InputInvalid
    from fusion.ledger.verify import Expectations
    from fusion.services import audit as service
    from fusion.services import stamps

    if earlier is not None and len(bundles) > 1:
        raise InputInvalid("--since is about one log.", hint="Audit that bundle on its own.")
    expected = Expectations(
        authority=VerifyKey.from_hex(authority) if authority else None, witnessed=not unwitnessed
    )
    if earlier is not None:
        expected = service.since(earlier, expected)
    with output.progress("auditing") as told:
        known = stamps.certificates(tsa) if tsa is not None else []
        found = service.audit_all(bundles, expected, told, known)
    if as_json:
        logs = [service.as_document(item) for item in found]
        output.document("fusion.audit/1", {"logs": logs, "authority_given": bool(authority)})
        return
    _report(found)
    if not authority:
        output.note(f"authority as the bundle says: {found[0].authority}")
        output.note("-> compare it with the one you know, or name that with --authority")


def _report(found: Sequence[Findings]) -> None:
    """Print one line a log, then what is worth a look."""
    rows = [
        (
            item.organisation,
            f"{item.size:,}",
            f"{item.witnessed:,}",
            f"{len(item.witnesses)} of {item.others}",
            f"{len(item.replay.openings):,}",
            item.root.hex()[:_SHORT],
        )
        for item in found
    ]
    output.table(("log", "entries", "witnessed", "by", "sums opened", "root"), rows)
    for item in found:
        for notice in item.replay.notices:
            output.note(f"{item.organisation}: {notice}")
        for order in item.orders[-_LISTED:]:
            job, operator, at = order["job"], order["operator"], order["ordered_at"]
            output.note(f"{item.organisation}: {job} was ordered by {operator} at {at}")
        for stamp in item.stamps[-_LISTED:]:
            doubt = "" if stamp["verified"] else " (not verified: name --tsa-certificate)"
            size, at = stamp["size"], stamp["at"]
            output.note(f"{item.organisation}: {size:,} entries were there at {at}{doubt}")
