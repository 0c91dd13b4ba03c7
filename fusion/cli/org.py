"""``fusion org``: an organisation's own keys, with or without a node."""

# ruff: noqa: PLC0415 - a verb imports when it runs: --help stays quick, and so do light verbs

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fusion.cli import output
from fusion.cli.options import Json

app = typer.Typer(help="Make and keep an organisation's own keys.", no_args_is_help=True)

Folder = Annotated[
    Path,
    typer.Argument(
        metavar="DIR",
        envvar="FUSION_HOME",
        show_envvar=False,
        help="The organisation's folder, which may be a node's; else $FUSION_HOME or this one.",
    ),
]
NoPassphrase = Annotated[
    bool,
    typer.Option("--no-passphrase", help="Keep private keys unencrypted, by explicit choice."),
]


@app.command("init")
def init(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A new folder.")],
    *,
    organisation: Annotated[
        str, typer.Option("--id", metavar="ID", help="The identifier, such as tax.city.example.")
    ],
    name: Annotated[str, typer.Option(help="The organisation's name, for people.")] = "",
    no_passphrase: NoPassphrase = False,
    as_json: Json = False,
) -> None:
    """Make an organisation's keys and its request for admission; no hub is needed for it."""
    from fusion.services import organisations, passphrases

    passphrase = passphrases.for_making(unencrypted=no_passphrase)
    home = organisations.init(folder, organisation, name, passphrase=passphrase)
    if as_json:
        output.document("fusion.org/1", organisations.describe(home))
        return
    output.note("organisation made; send this request to the hub's operator:")
    output.result(str(home.request))


@app.command("show")
def show(folder: Folder = Path(), *, as_json: Json = False) -> None:
    """Show an organisation's public keys, and until when its certificates are good."""
    from fusion.services import organisations

    content = organisations.describe(organisations.OrgHome.open_org(folder))
    if as_json:
        output.document("fusion.org/1", content)
        return
    keys = {n: v for n, v in content["keys"].items() if n not in {"ca", "fleet_key"}}
    output.facts(
        [
            ("organisation", content["id"]),
            ("name", content["name"]),
            ("request", content["request"]),
            ("private keys", "encrypted" if content["encrypted"] else "NOT encrypted"),
            ("digest of keys", content["digest"]),
            *((name.replace("_", " "), value) for name, value in keys.items()),
            ("CA until", content["ca_until"]),
            ("certificate until", content["leaf_until"] or "made when the node dials"),
            *([("waiting", content["rotation"])] if content["rotation"] else []),
        ]
    )


@app.command("rotate")
def rotate(
    folder: Folder = Path(),
    *,
    statement: Annotated[bool, typer.Option("--statement", help="The statement key.")] = False,
    sealing: Annotated[bool, typer.Option("--sealing", help="The sealing key.")] = False,
    fleet: Annotated[bool, typer.Option("--fleet", help="The key for Flower.")] = False,
    log: Annotated[bool, typer.Option("--log", help="The key of a log that was lost.")] = False,
    witness: Annotated[bool, typer.Option("--witness", help="The witness key.")] = False,
    tls: Annotated[bool, typer.Option("--tls", help="The organisation's CA.")] = False,
    as_json: Json = False,
) -> None:
    """Make other keys, and a request for them that the old and the new statement key sign."""
    from fusion.services import organisations, rotation

    wanted = dict(zip(rotation.KINDS, (statement, sealing, fleet, log, witness, tls), strict=True))
    kinds = [kind for kind, chosen in wanted.items() if chosen]
    file = rotation.rotate(organisations.OrgHome.open_org(folder), kinds)
    if as_json:
        output.document("fusion.rotation-request/1", {"request": str(file), "keys": kinds})
        return
    output.note("keys made; send this request to the hub's operator, then start the node again:")
    output.result(str(file))


@app.command("passphrase")
def passphrase(
    folder: Folder = Path(),
    *,
    new_file: Annotated[
        Path | None,
        typer.Option("--new-passphrase-file", metavar="FILE", help="Holds the new passphrase."),
    ] = None,
    no_passphrase: NoPassphrase = False,
    as_json: Json = False,
) -> None:
    """Change the passphrase of an organisation's, a node's or a hub's private keys."""
    from fusion.services import organisations

    number = organisations.change_passphrase(folder, new_file, unencrypted=no_passphrase)
    if as_json:
        content = {"folder": str(folder), "keys": number, "encrypted": not no_passphrase}
        output.document("fusion.passphrase/1", content)
        return
    output.note("start again whatever is up with these keys: it needs the new passphrase")
    state = "NOT encrypted" if no_passphrase else "encrypted"
    output.result(f"{number} private keys are {state}")
