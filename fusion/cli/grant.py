"""``fusion grant``: who may do what with which data; signed by everyone whom it concerns."""

# ruff: noqa: PLC0415 - a verb imports when it runs: --help stays quick, and so do light verbs

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fusion.cli import output
from fusion.cli.files import read_bounded
from fusion.cli.options import Json, folder
from fusion.errors import InputInvalid, PartyUnreachable

if TYPE_CHECKING:
    from pydantic import BaseModel

    from fusion.services.grants import Kept
    from fusion.services.homes import HubHome, NodeHome

app = typer.Typer(
    help="Propose, sign, show, revoke and check grants: who may do what with which data.",
    no_args_is_help=True,
)
REFUSED = 4

Home = Annotated[Path, folder("a node or of the hub")]
Out = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Write it to this file too, for the others.")
]
Id = Annotated[str, typer.Argument(metavar="ID", help="A grant's id, or how it begins.")]


def _text(path: Path) -> str:
    from fusion.grants.document import MAX_GRANT_BYTES

    try:
        return read_bounded(path, MAX_GRANT_BYTES).decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputInvalid(f"{path} is not UTF-8 text.") from error


def _signed(path: Path) -> bytes:
    from fusion.grants.signing import MAX_SIGNED_BYTES

    return read_bounded(path, MAX_SIGNED_BYTES)


def _hand_out(data: bytes, out: Path | None) -> None:
    from fusion.services.files import write_atomic

    if out is not None:
        write_atomic(out, data, 0o644)
        output.note(f"written to {out}")


def _send(home: NodeHome | HubHome, data: bytes) -> None:
    """Hand it to the hub, from which the others fetch it; say so, and what to do where it fails."""
    from fusion.services import grant_exchange
    from fusion.services.homes import NodeHome

    if not isinstance(home, NodeHome) or not home.enrolled:
        return
    try:
        grant_exchange.hand_in(home, data)
    except PartyUnreachable as error:
        output.note(f"not handed to the hub: {error.message}")
        output.note(
            "a node that is up does it as soon as it can; or hand the others a file (--out)"
        )
    else:
        output.note("handed to the hub; the others fetch it from there")


def _print(kept: Kept, *, as_json: bool) -> None:
    if as_json:
        output.document("fusion.grant-status/1", kept.to_json())
        return
    grant = kept.signed.grant
    actions = [
        name for name in ("train", "align", "query", "score", "mock") if grant.permission(name)
    ]
    fee = f"{grant.fee.kind}, at most {grant.fee.ceiling_cents / 100:.2f} {grant.fee.currency}"
    output.facts(
        [
            ("id", kept.signed.id),
            ("title", grant.title),
            ("standing", kept.standing.value),
            ("from", ", ".join(grant.assigners)),
            ("to", grant.assignee),
            ("dataset", f"{grant.dataset.id}: {', '.join(grant.dataset.columns)}"),
            ("purpose", grant.purpose),
            ("valid", f"{grant.not_before} until {grant.not_after}"),
            *((name, _in_words(grant.permission(name))) for name in actions),
            ("fee", fee),
            *((duty.kind, _in_words(duty)) for duty in grant.duties),
            ("signed by", ", ".join(sorted(kept.signed.signed))),
            ("to be signed by", ", ".join(kept.signed.missing) or "nobody"),
            ("file", kept.path),
        ]
    )


def _in_words(part: BaseModel | None) -> str:
    """Return what a part of a grant says: its keys as one writes them, and their values."""
    said = {} if part is None else part.model_dump(mode="json", by_alias=True, exclude_none=True)
    said.pop("kind", None)
    return "; ".join(
        f"{key}: {', '.join(map(str, value)) if isinstance(value, list) else value}"
        for key, value in said.items()
    )


@app.command("propose")
def propose(
    file: Annotated[Path, typer.Argument(metavar="GRANT.yaml", help="The grant as you wrote it.")],
    *,
    home: Home = Path(),
    out: Out = None,
    as_json: Json = False,
) -> None:
    """Check a grant that you wrote, sign it as the first one, and keep it.

    At the data owner's node its dataset, columns and schema have to be those of this node.
    """
    from fusion.services import grant_proposal
    from fusion.services.homes import open_home

    opened = open_home(home)
    kept = grant_proposal.propose(opened, _text(file), str(file), warn=output.note)
    _hand_out(kept.signed.envelope, out)
    _send(opened, kept.signed.envelope)
    _print(kept, as_json=as_json)


@app.command("sign")
def sign(
    grant: Annotated[
        str, typer.Argument(metavar="FILE|ID", help="A grant from another organisation.")
    ],
    *,
    home: Home = Path(),
    out: Out = None,
    as_json: Json = False,
) -> None:
    """Sign a grant: verify what is there, put your signature under it, and keep it.

    Read it first with fusion grant show; what you sign binds your organisation.
    """
    from fusion.services import grants
    from fusion.services.homes import open_home

    opened = open_home(home)
    path = Path(grant)
    data = _signed(path) if path.exists() else grants.folder_of(opened).get(grant).signed.envelope
    kept = grants.sign(opened, data)
    _hand_out(kept.signed.envelope, out)
    _send(opened, kept.signed.envelope)
    _print(kept, as_json=as_json)


@app.command("add")
def add(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE", help="Grants or revocations from others.")
    ],
    *,
    home: Home = Path(),
    as_json: Json = False,
) -> None:
    """Take over signatures or revocations that others made. Signs nothing."""
    from fusion.services import grants
    from fusion.services.homes import open_home

    opened = open_home(home)
    kept = [grants.add(opened, _signed(file)) for file in files]
    _list(kept, as_json=as_json)


@app.command("fetch")
def fetch(*, home: Home = Path(), as_json: Json = False) -> None:
    """Fetch grants and revocations from the hub; a node that is up does it by itself."""
    from fusion.services import grant_exchange, grants
    from fusion.services.dialling import link_of
    from fusion.services.homes import NodeHome

    node = NodeHome.open(home)
    with link_of(node) as link:
        names = grant_exchange.exchange(node, link, output.note)
    folder = grants.folder_of(node)
    changed = dict.fromkeys(name.split(".")[0] for name in names)
    _list([folder.get(name) for name in changed], as_json=as_json)


@app.command("list")
def list_grants(*, home: Home = Path(), as_json: Json = False) -> None:
    """List the grants that this node or hub knows, and where each stands."""
    from fusion.services import grants
    from fusion.services.homes import open_home

    _list(grants.folder_of(open_home(home)).all(), as_json=as_json)


def _list(kept: list[Kept], *, as_json: bool) -> None:
    if as_json:
        output.document("fusion.grants/1", {"grants": [each.to_json() for each in kept]})
        return
    rows = [
        [
            each.signed.id[:16],
            each.standing.value,
            each.signed.grant.dataset.id,
            each.signed.grant.assignee,
            each.signed.grant.not_after,
            each.signed.grant.title,
        ]
        for each in kept
    ]
    output.table(["id", "standing", "dataset", "to", "until", "title"], rows)


@app.command("show")
def show(
    grant: Annotated[
        str, typer.Argument(metavar="FILE|ID", help="A grant's file, its id or how that begins.")
    ],
    *,
    home: Home = Path(),
    odrl: Annotated[
        bool, typer.Option("--odrl", help="Print it as ODRL 2.2 (JSON-LD), for catalogues.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Show a grant and where it stands; with --json all of it. A file is verified, not kept."""
    from fusion.grants.odrl import export
    from fusion.services import grants
    from fusion.services.homes import open_home

    folder, path = grants.folder_of(open_home(home)), Path(grant)
    kept = folder.look(path, _signed(path)) if path.exists() else folder.get(grant)
    if odrl:
        output.document("fusion.odrl/1", export(kept.signed, kept.standing))
        return
    _print(kept, as_json=as_json)


@app.command("revoke")
def revoke(
    grant: Id,
    *,
    reason: Annotated[str, typer.Option(help="Why, for people.")],
    home: Home = Path(),
    out: Out = None,
    as_json: Json = False,
) -> None:
    """Revoke a grant for good. Running work under it stops at this node within a second.

    It is handed to the hub, from which the others take it over; where there is no way to the hub,
    hand them the file (--out) for fusion grant add.
    """
    from fusion.services import grants
    from fusion.services.homes import open_home

    opened = open_home(home)
    kept, data = grants.revoke(opened, grant, reason)
    _hand_out(data, out)
    _send(opened, data)
    _print(kept, as_json=as_json)


@app.command("check")
def check(
    request: Annotated[Path, typer.Argument(metavar="REQUEST", help="A request, as YAML or JSON.")],
    *,
    home: Home = Path(),
    as_json: Json = False,
) -> None:
    """Say what a request would get, and if it is refused, what would pass. Reserves nothing.

    Exit code 4 if it would be refused.
    """
    from fusion.grants.permit import Permit
    from fusion.services import grants
    from fusion.services.homes import open_home

    asked, result = grants.check(open_home(home), _text(request), str(request))
    if isinstance(result, Permit):
        if as_json:
            content = {"permitted": True, "grant": result.grant, "request": asked.document()}
            output.document("fusion.decision/1", content)
        else:
            output.facts([("permitted", asked.job), ("grant", result.grant)])
        return
    if as_json:
        output.document("fusion.decision/1", {"permitted": False, **result.to_json()})
    else:
        output.facts(
            [
                ("refused", asked.job),
                *((clause.code.value, clause.text()) for clause in result.clauses),
                *(("", clause.text("zh")) for clause in result.clauses),
                ("would pass", result.advice()),
                ("", result.advice("zh")),
            ]
        )
    raise typer.Exit(REFUSED)


@app.command("schema")
def schema(
    dataset: Annotated[str, typer.Argument(metavar="DATASET", help="A dataset of the node.")],
    *,
    home: Home = Path(),
    as_json: Json = False,
) -> None:
    """Show the columns of a node's dataset and the digest that a grant names. Reads no row."""
    from fusion.catalogue.descriptor import schema_digest
    from fusion.services import grants
    from fusion.services.homes import NodeHome

    columns = grants.schema_of(NodeHome.open(home), dataset)
    content = {"dataset": dataset, "columns": columns, "schema_digest": schema_digest(columns)}
    if as_json:
        output.document("fusion.schema/1", content)
        return
    output.facts([("schema_digest", content["schema_digest"]), *columns.items()])
