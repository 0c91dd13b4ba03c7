"""``fusion key``: the decryption key that nobody holds alone."""

# ruff: noqa: PLC0415 - a verb imports when it runs: --help stays quick, and so do light verbs

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fusion.cli import output
from fusion.cli.files import read_bounded
from fusion.errors import InputInvalid

if TYPE_CHECKING:
    from fusion.identity.roster import Roster
    from fusion.services.homes import HubHome, NodeHome
    from fusion.services.keys import KeyInfo

app = typer.Typer(help="Deal, import and show threshold keys.", no_args_is_help=True)

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
NodeOption = Annotated[Path | None, typer.Option("--node", metavar="DIR", help="A node's folder.")]
HubOption = Annotated[Path | None, typer.Option("--hub", metavar="DIR", help="The hub's folder.")]


@app.command("ceremony")
def ceremony(
    *,
    roster: Annotated[Path, typer.Option(help="The signed roster: roster.json of hub or node.")],
    holders: Annotated[str, typer.Option(metavar="A,B,C", help="Who gets a share.")],
    threshold: Annotated[int, typer.Option(help="Holders needed to decrypt: a majority.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="A new folder for the sealed shares.")],
    bits: Annotated[int, typer.Option(help="Key size: 3072, or 2048 (labelled as weaker).")] = 3072,
    authority: Annotated[
        str, typer.Option(metavar="HEX", help="The authority's key, for a roster on its own.")
    ] = "",
    as_json: Json = False,
) -> None:
    """Deal a key: find safe primes, seal each share to its holder, forget the rest.

    Run it on a machine apart from the hub. Every holder compares the transcript that is printed.
    """
    from fusion.services import keys

    members = _roster(roster, authority)
    names = [name for name in holders.split(",") if name]
    with output.progress("searching for safe primes") as show:
        done = keys.ceremony(
            members, names, threshold, bits, out, lambda seconds: show(f"{seconds:.0f} s")
        )
    content = {
        "transcript": done.transcript,
        "fingerprint": done.fingerprint,
        "bits": bits,
        "threshold": threshold,
        "holders": names,
        "document": str(done.document),
        "files": {name: str(path) for name, path in done.files.items()},
    }
    if as_json:
        output.document("fusion.ceremony/1", content)
        return
    output.facts(
        [
            ("transcript", done.transcript),
            ("fingerprint", done.fingerprint),
            ("for the hub", done.document),
            *((f"for {name}", path) for name, path in done.files.items()),
        ]
    )
    output.note("compare the transcript with every holder, by telephone or in person")
    if 2 * threshold - len(names) <= 1:
        note = "with this threshold the hub and one holder together can open one update"
        output.note(f"{note}; see limitations")


def _roster(file: Path, authority: str) -> Roster:
    """Open a roster: by the authority's key, or in a folder that knows it."""
    from fusion.crypto.signing import VerifyKey
    from fusion.identity.roster import open_roster
    from fusion.services.homes import HUB_FILE, NODE_FILE, HubHome, NodeHome
    from fusion.wire.limits import MAX_ROSTER_BYTES

    if authority:
        return open_roster(read_bounded(file, MAX_ROSTER_BYTES), VerifyKey.from_hex(authority))
    folder = file.parent
    if (folder / HUB_FILE).exists():
        return HubHome.open(folder).roster()
    if (folder / NODE_FILE).exists():
        return NodeHome.open(folder).roster()
    raise InputInvalid(
        f"Nothing beside {file} says who may have signed it.",
        hint="Add --authority HEX, as fusion hub status shows it to the hub's operator.",
    )


@app.command("import")
def import_key(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A share, or the public key.json.")],
    *,
    transcript: Annotated[
        str, typer.Option(metavar="HEX", help="What the ceremony printed, got from its dealer.")
    ],
    node: NodeOption = None,
    hub: HubOption = None,
    as_json: Json = False,
) -> None:
    """Take over a share at a node, or the public key at the hub or at a node without a share."""
    from fusion.services import keys
    from fusion.services.homes import NodeHome

    home = _home(node, hub)
    if isinstance(home, NodeHome) and file.suffix == ".share":
        info = keys.import_share(home, file, transcript)
    else:
        info = keys.import_public(home, file, transcript)
    _print([info], as_json=as_json)


@app.command("show")
def show(*, node: NodeOption = None, hub: HubOption = None, as_json: Json = False) -> None:
    """Show the imported keys of a node or of the hub."""
    from fusion.services import keys

    _print(keys.show(_home(node, hub)), as_json=as_json)


def _home(node: Path | None, hub: Path | None) -> HubHome | NodeHome:
    """Open the one folder that was named."""
    from fusion.services.homes import HubHome, NodeHome

    if (node is None) == (hub is None):
        raise InputInvalid("Name one folder.", hint="Use either --node DIR or --hub DIR.")
    return NodeHome.open(node) if node is not None else HubHome.open(hub or Path())


def _print(found: list[KeyInfo], *, as_json: bool) -> None:
    if as_json:
        output.document("fusion.keys/1", {"keys": [asdict(info) for info in found]})
        return
    for info in found:
        output.facts(
            [
                ("fingerprint", info.fingerprint),
                ("bits", info.bits),
                ("to decrypt", f"{info.threshold} of {len(info.holders)}"),
                ("holders", ", ".join(info.holders)),
                ("transcript", info.transcript),
                ("share held here", "yes" if info.share else "no"),
            ]
        )
