"""``fusion hub``: the data authority's side of a federation."""

# ruff: noqa: PLC0415 - a verb imports when it runs: --help stays quick, and so do light verbs

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fusion.cli import output, roster
from fusion.cli.files import read_bounded
from fusion.cli.options import Json
from fusion.cli.serving import serve
from fusion.errors import EnvironmentUnfit, InputInvalid

app = typer.Typer(help="Run a federation: its roster, its one port.", no_args_is_help=True)
app.add_typer(roster.app, name="roster")

Folder = Annotated[
    Path,
    typer.Argument(
        metavar="DIR",
        envvar="FUSION_HOME",
        show_envvar=False,
        help="The hub's folder, else $FUSION_HOME or this one.",
    ),
]
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
NoPassphrase = Annotated[
    bool,
    typer.Option("--no-passphrase", help="Keep private keys unencrypted, by explicit choice."),
]


@app.command("init")
def init(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A new folder for the hub.")],
    *,
    address: Annotated[
        str, typer.Option(help="Host and port that nodes dial; the host goes into the certificate.")
    ] = "127.0.0.1:8443",
    federation: Annotated[
        str, typer.Option(help="The federation's identifier, part of every certificate.")
    ] = "federation.local",
    name: Annotated[str, typer.Option(help="The federation's name, for people.")] = "",
    no_passphrase: NoPassphrase = False,
    as_json: Json = False,
) -> None:
    """Make a hub: keys, certificates, an empty roster. Prints the invitation for nodes."""
    from fusion.services import hub as service
    from fusion.services import passphrases

    if address.endswith(":0"):
        raise InputInvalid(
            f"{address} has no port that nodes could dial.", hint="Name one, such as 8443."
        )
    invitation = service.init(
        folder,
        federation=federation,
        address=address,
        name=name,
        passphrase=passphrases.for_making(unencrypted=no_passphrase),
    )
    if as_json:
        output.document("fusion.hub/1", {"folder": str(folder), "invitation": str(invitation)})
        return
    output.note(f"hub made in {folder}; hand this invitation to every organisation:")
    output.result(str(invitation))


@app.command("admit")
def admit(
    requests: Annotated[
        list[Path],
        typer.Argument(
            metavar="REQUEST.csr", help="Requests made by fusion org init or node init."
        ),
    ],
    *,
    until: Annotated[
        str, typer.Option(metavar="DAY", help="Last day (UTC); without it, until they are revoked.")
    ] = "",
    folder: FolderOption = Path(),
    as_json: Json = False,
) -> None:
    """Admit organisations: check their requests, sign the next epoch of the roster."""
    from fusion.services import rosters as service
    from fusion.services.homes import HubHome
    from fusion.wire.limits import MAX_REQUEST_BYTES

    hub = HubHome.open(folder)
    members = [
        service.admit(hub, read_bounded(request, MAX_REQUEST_BYTES), until=until or None)
        for request in requests
    ]
    if as_json:
        content = [
            {"id": m.id, "name": m.name, "statement_key": m.statement_key.hex} for m in members
        ]
        output.document("fusion.admitted/1", {"members": content})
        return
    for member in members:
        output.result(f"{member.id}  admitted, statement key {member.statement_key.hex}")


@app.command("up")
def up(folder: Folder = Path()) -> None:
    """Serve the federation until Ctrl-C or SIGTERM."""
    from fusion.services import engines, passphrases
    from fusion.services.homes import HubHome

    hub = HubHome.open(folder)
    if hub.key_folder.encrypted and passphrases.given() is None:
        # Runs work in processes of their own, where nobody could be asked.
        raise EnvironmentUnfit(
            "The hub's private keys are encrypted, and its own processes need the passphrase.",
            hint="Name the file that holds it: fusion --passphrase-file FILE hub up DIR.",
        )
    engine = engines.training()
    raise typer.Exit(serve(lambda stop: engine.hub_up(hub, stop=stop, say=output.note)))


@app.command("status")
def status(folder: Folder = Path(), *, as_json: Json = False) -> None:
    """Show who belongs to the federation, whether the hub is up, and its jobs."""
    from fusion.services import engines
    from fusion.services.homes import HubHome
    from fusion.services.processes import is_up

    hub = HubHome.open(folder)
    found = hub.roster()
    jobs = engines.training().jobs(hub)
    content = {
        "federation": found.federation,
        "address": hub.config.address,
        "authority_key": found.authority_key.hex,
        "invitation": str(hub.invitation),
        "epoch": found.epoch,
        "up": is_up(hub.ready),
        "members": [
            {"id": m.id, "name": m.name, "status": m.status, "admitted_at": m.admitted_at}
            for m in found.members
        ],
        "jobs": jobs,
    }
    if as_json:
        output.document("fusion.hub-status/1", content)
        return
    output.facts(
        [
            ("federation", content["federation"]),
            ("address", content["address"]),
            ("authority key", content["authority_key"]),
            ("invitation", content["invitation"]),
            ("roster", f"epoch {found.epoch}, {len(found.active)} members"),
            ("state", "up" if content["up"] else "down"),
            *((f"  {m.id}", f"{m.name}  {m.status}, since {m.admitted_at}") for m in found.members),
            *((j["job"], f"{j['status']} {j.get('message', '')}".strip()) for j in jobs),
        ]
    )
