"""``fusion node``: one organisation's side of a federation."""

# ruff: noqa: PLC0415 - a verb imports when it runs: --help stays quick, and so do light verbs

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Annotated

import typer

from fusion.cli import output
from fusion.cli.options import Json
from fusion.cli.serving import serve
from fusion.errors import InputInvalid

app = typer.Typer(help="Take part in a federation with one's own data.", no_args_is_help=True)

Folder = Annotated[
    Path,
    typer.Argument(
        metavar="DIR",
        envvar="FUSION_HOME",
        show_envvar=False,
        help="The node's folder, else $FUSION_HOME or this one.",
    ),
]
NoPassphrase = Annotated[
    bool,
    typer.Option("--no-passphrase", help="Keep private keys unencrypted, by explicit choice."),
]


@app.command("init")
def init(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="An organisation's folder, or a new one.")
    ],
    *,
    hub: Annotated[str, typer.Option(metavar="URL", help="The invitation that the hub printed.")],
    org: Annotated[
        str,
        typer.Option(metavar="ID", help="The organisation's identifier, if the folder is new."),
    ] = "",
    name: Annotated[str, typer.Option(help="The organisation's name, for people.")] = "",
    data: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=FILE", help="A dataset for studies; repeat for more."),
    ] = None,
    require_grants: Annotated[
        bool,
        typer.Option(
            "--require-grants/--no-require-grants",
            help="Whether every use of the data needs a signed grant.",
        ),
    ] = True,
    no_passphrase: NoPassphrase = False,
    as_json: Json = False,
) -> None:
    """Make a node of an organisation's folder, or with new keys and a request for admission."""
    from fusion.services import node as service
    from fusion.services import passphrases
    from fusion.services.organisations import ORG_FILE

    datasets = _datasets(data or [])
    # An organisation's folder has its keys already.
    made = (folder / ORG_FILE).exists()
    passphrase = None if made else passphrases.for_making(unencrypted=no_passphrase)
    node = service.init(
        folder,
        hub=hub,
        org=org,
        name=name,
        data=datasets,
        require_grants=require_grants,
        passphrase=passphrase,
    )
    if as_json:
        content = {"folder": str(node.path), "id": node.config.id, "request": str(node.request)}
        output.document("fusion.node/1", content)
        return
    output.note("node made; send this request to the hub's operator:")
    output.result(str(node.request))


def _datasets(given: list[str]) -> dict[str, Path]:
    """Read ``NAME=FILE`` options."""
    found: dict[str, Path] = {}
    for text in given:
        name, mark, file = text.partition("=")
        if not (name and mark and file) or name in found:
            raise InputInvalid(
                f"--data {text} is not a new NAME=FILE.",
                hint="Write --data adult=adult.csv; the name is the one that studies use.",
            )
        found[name] = Path(file)
    return found


@app.command("up")
def up(folder: Folder = Path()) -> None:
    """Wait for admission if need be, then serve studies until Ctrl-C or SIGTERM."""
    from fusion.services import engines, enrolment
    from fusion.services.homes import NodeHome

    node = NodeHome.open(folder)
    # A node shares its machine with others' work, and its models are small: one thread is faster.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    engine = engines.training()

    def service_loop(stop: threading.Event) -> int:
        if not node.enrolled:
            enrolment.enrol(node, stop=stop, say=output.note)
        elif node.rotation.exists():
            enrolment.take_up_rotation(node, stop=stop, say=output.note)
        return 0 if stop.is_set() else engine.node_up(node, stop=stop, say=output.note)

    raise typer.Exit(serve(service_loop))


@app.command("status")
def status(folder: Folder = Path(), *, as_json: Json = False) -> None:
    """Show what this node is, whether it is admitted and whether it is up."""
    from fusion.services.homes import NodeHome
    from fusion.services.processes import is_up

    node = NodeHome.open(folder)
    content = {
        "id": node.config.id,
        "hub": node.config.hub_url,
        "admitted": node.enrolled,
        "up": is_up(node.ready),
        "datasets": {name: str(path) for name, path in node.config.data.items()},
    }
    if as_json:
        output.document("fusion.node-status/1", content)
        return
    output.facts(
        [
            ("organisation", content["id"]),
            ("hub", content["hub"]),
            ("admitted", "yes" if node.enrolled else "not yet"),
            ("state", "up" if content["up"] else "down"),
            *((f"  {name}", path) for name, path in node.config.data.items()),
        ]
    )


@app.command("ping")
def ping(
    folder: Folder = Path(),
    *,
    to: Annotated[str, typer.Option(metavar="ID", help="The organisation whose node to reach.")],
    count: Annotated[int, typer.Option(min=1, max=1000, help="How often.")] = 5,
    size: Annotated[int, typer.Option(min=0, max=1048576, help="Bytes there and back.")] = 1024,
    as_json: Json = False,
) -> None:
    """Reach another member's node through the hub, which can't read what passes."""
    from statistics import median

    from fusion.crypto import rng
    from fusion.services.homes import NodeHome
    from fusion.services.node_link import Connection

    node = NodeHome.open(folder)
    with Connection(node) as connection:
        seconds = [connection.ping(to, rng.token(size)) for _ in range(count)]
    milliseconds = [round(1000 * each, 2) for each in seconds]
    # The first one makes the tunnel and shakes hands.
    content = {
        "to": to,
        "bytes": size,
        "milliseconds": milliseconds,
        "median": round(median(milliseconds[1:] or milliseconds), 2),
    }
    if as_json:
        output.document("fusion.node-ping/1", content)
        return
    output.result(f"{to} answers: {size} bytes there and back in {content['median']} ms")
    output.note(f"first {milliseconds[0]} ms, {count} times; TLS between the two nodes")
