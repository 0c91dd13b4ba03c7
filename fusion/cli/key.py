"""``fusion key``: the decryption key that nobody holds alone."""

# ruff: noqa: PLC0415 - a verb imports when it runs: --help stays quick, and so do light verbs

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fusion.cli import output
from fusion.cli.files import read_bounded
from fusion.cli.options import Json
from fusion.cli.runs import read_study
from fusion.errors import InputInvalid

if TYPE_CHECKING:
    from collections.abc import Callable

    from fusion.identity.roster import Roster
    from fusion.services.ceremony import Ceremony, Search
    from fusion.services.homes import HubHome, NodeHome
    from fusion.services.keys import KeyInfo

app = typer.Typer(help="Deal, import and show threshold keys.", no_args_is_help=True)

DEFAULT_BITS = 3072

NodeOption = Annotated[Path | None, typer.Option("--node", metavar="DIR", help="A node's folder.")]
HubOption = Annotated[Path | None, typer.Option("--hub", metavar="DIR", help="The hub's folder.")]


@app.command("ceremony")
def ceremony(
    *,
    study: Annotated[
        Path | None, typer.Option(help="A study: its [key] says bits, holders and threshold.")
    ] = None,
    bits: Annotated[
        int | None,
        typer.Option(help="Key size: 3072 if nothing says otherwise, 4096, or 2048, the weakest."),
    ] = None,
    holders: Annotated[str | None, typer.Option(metavar="A,B,C", help="Who gets a share.")] = None,
    threshold: Annotated[
        int | None, typer.Option(help="Holders needed to decrypt: a majority.")
    ] = None,
    roster: Annotated[
        Path, typer.Option(help="The signed roster of hub or node, else ./roster.json.")
    ] = Path("roster.json"),
    authority: Annotated[
        str, typer.Option(metavar="HEX", help="The authority's key, for a roster on its own.")
    ] = "",
    out: Annotated[
        Path, typer.Option(metavar="DIR", help="A new folder for the sealed shares, else ./shares.")
    ] = Path("shares"),
    as_json: Json = False,
) -> None:
    """Deal a key: find safe primes, seal each share to its holder, forget the rest.

    Run it on a machine apart from the hub. Every holder compares the transcript that is printed.
    """
    from fusion.services import ceremony as service

    terms = _terms(study, bits, [name for name in (holders or "").split(",") if name], threshold)
    members = _roster(roster, authority)
    with output.progress("safe primes") as show:
        tell = _telling(show, terms.bits)
        done = service.hold(members, terms.holders, terms.threshold, terms.bits, out, tell)
    if as_json:
        output.document("fusion.ceremony/1", _content(done, terms))
    else:
        output.facts(
            [
                ("transcript", service.grouped(done.transcript)),
                ("fingerprint", done.fingerprint),
                ("for the hub", done.document),
                *((f"for {name}", path) for name, path in done.files.items()),
            ]
        )
    _advise(terms)


def _telling(show: Callable[[str], None], bits: int) -> Callable[[Search], None]:
    """Return what tells of the search: a line when it begins, and one that changes."""
    begun = False

    def tell(search: Search) -> None:
        nonlocal begun
        if not begun:
            output.note(f"searching for two safe primes of {bits // 2} bits: seconds to minutes")
        begun = True
        show(f"{search.found} of 2 found, {search.seconds:.0f} s")

    return tell


@dataclass(frozen=True)
class _Terms:
    """What is dealt."""

    bits: int
    threshold: int
    holders: list[str]


def _terms(study: Path | None, bits: int | None, holders: list[str], needed: int | None) -> _Terms:
    """Join the study's wishes and the options; they may repeat each other, not differ.

    Raises:
        InputInvalid: They differ, or something is said by neither.
    """
    if study is None:
        if not holders or needed is None:
            raise InputInvalid(
                "Nothing says who holds the key.",
                hint="Give --study FILE, or --holders A,B,C and --threshold T.",
            )
        return _Terms(bits or DEFAULT_BITS, needed, holders)
    from fusion.services import engines

    asked = engines.training().key_terms(read_study(study), str(study))
    wanted = _Terms(**asked)
    given: list[tuple[str, object, object]] = [
        ("--bits", bits or wanted.bits, wanted.bits),
        ("--threshold", wanted.threshold if needed is None else needed, wanted.threshold),
        ("--holders", sorted(holders or wanted.holders), sorted(wanted.holders)),
    ]
    for option, said, meant in given:
        if said != meant:
            raise InputInvalid(
                f"{option} says {_words(said)}; {study} says {_words(meant)}.",
                hint=f"Leave {option} out, or change [key] in the study before anybody agrees.",
            )
    return wanted


def _words(value: object) -> str:
    return ",".join(value) if isinstance(value, list) else str(value)


def _content(done: Ceremony, terms: _Terms) -> dict[str, object]:
    from fusion.crypto.paillier.keys import SECURITY_BITS

    return {
        "transcript": done.transcript,
        "fingerprint": done.fingerprint,
        "bits": terms.bits,
        "security_bits": SECURITY_BITS[terms.bits],
        "threshold": terms.threshold,
        "holders": terms.holders,
        "document": str(done.document),
        "files": {name: str(path) for name, path in done.files.items()},
    }


def _advise(terms: _Terms) -> None:
    """Say what people have to do now, and what this choice costs."""
    output.note("compare the transcript with every holder, by telephone or in person")
    if terms.bits < DEFAULT_BITS:
        output.note(f"{terms.bits} bits are the weakest key offered; {DEFAULT_BITS} are usual")
    if 2 * terms.threshold - len(terms.holders) <= 1:
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
        output.sheet(f"key {info.fingerprint[:16]}", _rows(info))
    if not found:
        output.note("no key was imported here")


def _rows(info: KeyInfo) -> list[tuple[str, object]]:
    from fusion.services.ceremony import grouped

    # The table of SP 800-57 goes from 3072 to 7680 bits; that of SP 800-56B has what is between.
    source = "NIST SP 800-57" if info.bits <= DEFAULT_BITS else "NIST SP 800-56B"
    return [
        ("fingerprint", info.fingerprint),
        ("size", f"{info.bits} bits: {info.security_bits}-bit security strength ({source})"),
        ("parameters", f"{info.scheme}; {info.ciphertext_bytes} bytes a ciphertext"),
        ("proof", f"gcd(N, phi(N)) = 1, {info.proof_roots} roots, checked at import"),
        ("randomiser", info.randomiser),
        ("to decrypt", f"{info.threshold} of {len(info.holders)}"),
        ("holders", ", ".join(info.holders)),
        ("share held here", "yes" if info.share else "no"),
        ("transcript", grouped(info.transcript)),
        ("imported", info.imported_at),
    ]
