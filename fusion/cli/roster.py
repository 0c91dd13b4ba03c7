"""``fusion hub roster``: who is a member, with which keys, and how that came to be."""

# ruff: noqa: PLC0415 - a verb imports when it runs: --help stays quick, and so do light verbs

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fusion.cli import output
from fusion.cli.files import read_bounded
from fusion.cli.options import Json

if TYPE_CHECKING:
    from fusion.identity.members import Member
    from fusion.identity.roster import Roster

app = typer.Typer(help="The roster: its members and its epochs.", no_args_is_help=True)

FolderOption = Annotated[
    Path,
    typer.Option(
        "--hub",
        metavar="DIR",
        envvar="FUSION_HOME",
        show_envvar=False,
        help="The hub's folder, else $FUSION_HOME or this one.",
    ),
]
Organisation = Annotated[str, typer.Argument(metavar="ID", help="The organisation.")]


@app.command("show")
def show(folder: FolderOption = Path(), *, as_json: Json = False) -> None:
    """Show the roster as it is now."""
    from fusion.services.homes import HubHome

    _print(HubHome.open(folder).roster(), as_json=as_json)


@app.command("history")
def history(folder: FolderOption = Path(), *, as_json: Json = False) -> None:
    """Show what each epoch changed; each has to follow the one before."""
    from fusion.services import rosters
    from fusion.services.homes import HubHome

    epochs = rosters.history(HubHome.open(folder))
    if as_json:
        output.document("fusion.roster-history/1", {"epochs": epochs})
        return
    for epoch in epochs:
        output.result(f"epoch {epoch['epoch']}  {epoch['issued_at']}  {epoch['digest']}")
        for change in epoch["changes"]:
            output.result(f"  {change['organisation']}  {change['what']}")


@app.command("revoke")
def revoke(
    organisation: Organisation,
    *,
    reason: Annotated[str, typer.Option(help="Why, for everybody to read.")],
    folder: FolderOption = Path(),
    as_json: Json = False,
) -> None:
    """Revoke a member, for good. What it signed before stays valid."""
    from fusion.services import rosters
    from fusion.services.homes import HubHome

    _print(rosters.revoke(HubHome.open(folder), organisation, reason), as_json=as_json)


@app.command("rotate")
def rotate(
    request: Annotated[
        Path, typer.Argument(metavar="ROTATION.json", help="Made by fusion org rotate.")
    ],
    *,
    folder: FolderOption = Path(),
    as_json: Json = False,
) -> None:
    """Grant a member's request for other keys, which its old and its new key signed."""
    from fusion.services import rosters
    from fusion.services.homes import HubHome
    from fusion.wire.limits import MAX_ROTATION_BYTES

    data = read_bounded(request, MAX_ROTATION_BYTES)
    _print(rosters.rotate(HubHome.open(folder), data), as_json=as_json)


@app.command("extend")
def extend(
    organisation: Organisation,
    *,
    until: Annotated[
        str, typer.Option(metavar="DAY", help="Last day (UTC); without it, until it is revoked.")
    ] = "",
    folder: FolderOption = Path(),
    as_json: Json = False,
) -> None:
    """Say anew how long an organisation is a member."""
    from fusion.services import rosters
    from fusion.services.homes import HubHome

    roster = rosters.extend(HubHome.open(folder), organisation, until or None)
    _print(roster, as_json=as_json)


def _print(roster: Roster, *, as_json: bool) -> None:
    from fusion.services import rosters

    content = rosters.describe(roster)
    if as_json:
        output.document("fusion.roster/2", content)
        return
    output.facts(
        [
            ("federation", roster.federation),
            ("epoch", f"{roster.epoch}, signed {roster.issued_at}"),
            ("digest", roster.digest),
            *((member.id, _words(member)) for member in roster.members),
        ]
    )


def _words(member: Member) -> str:
    if member.revoked is not None:
        return f"revoked {member.revoked.at}: {member.revoked.reason}"
    until = f" to {member.valid_until}" if member.valid_until else ""
    rotated = f", {len(member.rotations)} rotations" if member.rotations else ""
    return f"active since {member.valid_from}{until}{rotated}  {member.name}".rstrip()
