"""``fusion model``: this node's parts of joint models; what they are, and what ends them."""

# ruff: noqa: PLC0415 - a verb imports when it runs: --help stays quick, and so do light verbs

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from fusion.cli import output
from fusion.cli.files import check_writable
from fusion.cli.options import Json, folder

if TYPE_CHECKING:
    from fusion.services.models import KeptModel

app = typer.Typer(
    help="Show, revoke and export this node's parts of joint models.", no_args_is_help=True
)

Home = Annotated[Path, folder("the node")]
Model = Annotated[
    str,
    typer.Argument(metavar="MODEL", help="NAME (its newest version), NAME/VERSION, or the id."),
]


def _line(kept: KeptModel) -> dict[str, Any]:
    shared = kept.facts.shared
    return {
        "name": kept.name,
        "model": kept.id,
        "kind": shared.kind,
        "role": kept.role,
        "label_party": shared.label_party,
        "feature_parties": list(shared.feature_parties),
        "made": shared.made,
        "standing": kept.standing,
        "heard_revoked": sorted(kept.heard),
    }


@app.command("list")
def show_all(*, home: Home = Path(), as_json: Json = False) -> None:
    """List the models of which this node keeps a part, all versions."""
    from fusion.services.homes import NodeHome
    from fusion.services.models import kept_models

    found = [_line(kept) for kept in kept_models(NodeHome.open(home))]
    if as_json:
        output.document("fusion.models/1", {"models": found})
        return
    if not found:
        output.note("no models: `fusion train` with a vertical study makes one")
        return
    shown = ("name", "kind", "role", "label_party", "made", "standing")
    rows = [(*(each[key] for key in shown), each["model"][:16]) for each in found]
    output.table((*(key.replace("_", " ") for key in shown), "model"), rows)


@app.command("show")
def show(model: Model, *, home: Home = Path(), as_json: Json = False) -> None:
    """Show what a model is, in a few lines."""
    from fusion.services.homes import NodeHome
    from fusion.services.models import find_model

    line = _line(find_model(NodeHome.open(home), model))
    if as_json:
        output.document("fusion.model-status/1", line)
        return
    output.facts(
        [
            ("name", line["name"]),
            ("model", line["model"]),
            ("kind", line["kind"]),
            ("this holder's part", line["role"]),
            ("label party", line["label_party"]),
            ("feature parties", ", ".join(line["feature_parties"])),
            ("made", line["made"]),
            ("standing", line["standing"]),
            *(("revoked by", name) for name in line["heard_revoked"]),
        ]
    )


@app.command("card")
def show_card(
    model: Model,
    *,
    html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="Write the card as a page, too.")
    ] = None,
    language: Annotated[
        Literal["en", "zh"], typer.Option(help="What the page shows first.")
    ] = "en",
    home: Home = Path(),
    as_json: Json = False,
) -> None:
    """Show a model's card: data, grants, metrics, leakage, who holds parts, what was scored."""
    from fusion.reports.models import model_page
    from fusion.services.files import write_atomic
    from fusion.services.homes import NodeHome
    from fusion.services.model_card import CARD, card
    from fusion.services.models import find_model

    check_writable(html)
    node = NodeHome.open(home)
    found = card(node, find_model(node, model))
    if html is not None:
        write_atomic(html, model_page(found, language).encode(), 0o644)
        output.note(f"written to {html}")
    if as_json:
        output.document(CARD, found)
        return
    _print(found)


def _print(card: dict[str, Any]) -> None:
    data, own = card["data"], card["data"]["own"]
    scored = ", ".join(
        f"{s['organisation']}: {s['records']} in {s['calls']}" for s in card["scored"]
    )
    holders = [
        (f"holder {h['organisation']}", f"{h['role']} {h['part'][:16]}") for h in card["holders"]
    ]
    output.facts(
        [
            ("name", card["name"]),
            ("model", card["model"]),
            ("kind", card["kind"]),
            ("standing", card["standing"]),
            *_revoked(card),
            ("purpose", card["purpose"] or "-"),
            ("dataset", f"{card['holder']}/{own['dataset']}"),
            ("identifier", f"{own['identifier']} ({data['identifier']['kind']})"),
            ("own columns", ", ".join(own["columns"]) or "-"),
            ("label", own["label"] or "another's"),
            ("records", f"{data['rows_aligned']} aligned, {data['rows_training']} trained on"),
            *holders,
            *(
                (f"grant {g['id'][:16]}", f"{g['standing']}: {', '.join(g.get('for', ())) or '-'}")
                for g in card["grants"]
            ),
            *_metrics(card["metrics"]),
            *((f"points {each['column']}", _points(each["bins"])) for each in card["points"]),
            *_leakage(card),
            ("scored", scored or "nothing yet"),
            ("versions", ", ".join(str(v["version"]) for v in card["versions"])),
        ]
    )  # fmt: skip


def _metrics(metrics: dict[str, Any]) -> list[tuple[str, object]]:
    """Return measures as a person reads them."""
    from fusion.reports.models import quality_rows

    rows = quality_rows(metrics)
    if not rows:
        return [(f"metric {name}", value) for name, value in metrics.items()]
    return [
        (words.en, f"{test} on rows that judged, {train} on rows that trained")
        for words, train, test in rows
    ]


def _leakage(card: dict[str, Any]) -> list[tuple[str, object]]:
    """Return the leak report in words, a line each; what was promised comes first."""
    from fusion.reports.leakage import limit_words, lines

    told = card["leakage"]
    if not told:
        who = next(h["organisation"] for h in card["holders"] if h["role"] == "label")
        here = card["role"] == "label"
        return [("leakage", "no report" if here else f"the report is with {who}")]
    if not {"report", "verdict"} <= set(told):
        return [("leakage", "a report of another form: --json")]
    promised = [words.en for words in limit_words(told["verdict"])]
    said = [*(promised or ["Nothing was promised."]), *(line.strip() for line in lines(told))]
    return [("leakage", said[0]), *(("", line) for line in said[1:])]


def _revoked(card: dict[str, Any]) -> list[tuple[str, object]]:
    """Return who revoked the model, when and why, as far as this holder knows."""
    own = card["revocation"]
    found: list[tuple[str, object]] = []
    if own is not None:
        found.append((f"revoked by {card['holder']}", f"{own['at']}: {own['reason']}"))
    return found + [
        (f"revoked by {each['organisation']}", f"heard from it {each['heard']}")
        for each in card["heard_revoked"]
    ]


def _points(bins: list[dict[str, Any]]) -> str:
    return "; ".join(f"{each['values']}: {each['points']:.1f}" for each in bins)


@app.command("revoke")
def revoke(
    model: Model,
    *,
    reason: Annotated[str, typer.Option(help="Why, for the card.")],
    home: Home = Path(),
    as_json: Json = False,
) -> None:
    """End the use of this node's part for good; a node that is up stops at the next call."""
    from fusion.services.homes import NodeHome
    from fusion.services.models import find_model, revoke_model

    node = NodeHome.open(home)
    kept = find_model(node, model)
    revoke_model(node, kept, reason)
    if as_json:
        output.document("fusion.model-status/1", _line(kept))
        return
    output.note(f"{kept.name} is revoked: nothing is scored with this node's part any more")
    output.result(kept.id)


@app.command("export")
def export(
    model: Model,
    *,
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="Where to write it.")],
    part: Annotated[
        bool, typer.Option("--part", help="With this holder's part, if grants let it leave.")
    ] = False,
    home: Home = Path(),
    as_json: Json = False,
) -> None:
    """Write a model's card, and on demand this holder's part, to a file; the log says so.

    With the part, every other holder is asked first whether it revoked the model.
    """
    from contextlib import nullcontext

    from fusion.services import model_card
    from fusion.services.homes import NodeHome
    from fusion.services.models import find_model
    from fusion.services.node_link import Connection

    check_writable(out)
    node = NodeHome.open(home)
    kept = find_model(node, model)
    with Connection(node) if part else nullcontext() as connection:
        digest = model_card.export(node, kept, out, connection=connection)
    if as_json:
        content = {"model": kept.id, "file": str(out), "sha256": digest, "part": part}
        output.document("fusion.model-exported/1", content)
        return
    output.note(f"written to {out}")
    output.result(digest)
