"""``fusion data``: which data there are, whose, how sensitive, and what they can be joined on."""

# ruff: noqa: PLC0415 - a verb imports when it runs: --help stays quick, and so do light verbs

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast, get_args

import typer

from fusion.cli import output
from fusion.cli.files import check_writable, read_bounded
from fusion.cli.options import Json, folder
from fusion.errors import InputInvalid

if TYPE_CHECKING:
    from fusion.catalogue.cells import Finding
    from fusion.catalogue.descriptor import Column, Descriptor, Entity
    from fusion.services.catalogue import Taken

app = typer.Typer(
    help="Describe datasets, show the catalogue and what joins, make up samples, export.",
    no_args_is_help=True,
)

Home = Annotated[Path, folder("a node or of the hub")]
Dataset = Annotated[str, typer.Argument(metavar="ID", help="A dataset, as ID or OWNER/ID.")]


def _text(path: Path) -> str:
    from fusion.wire.plain_yaml import MAX_WRITTEN_BYTES

    try:
        return read_bounded(path, MAX_WRITTEN_BYTES).decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputInvalid(f"{path} is not UTF-8 text.") from error


def _entities(given: list[str]) -> dict[str, Entity]:
    """Read ``ENTITY:COLUMN`` options."""
    from fusion.catalogue.descriptor import Entity

    found: dict[str, Entity] = {}
    for text in given:
        entity, mark, column = text.partition(":")
        if not (mark and column) or entity not in get_args(Entity) or column in found:
            raise InputInvalid(
                f"--entity {text} is not a new ENTITY:COLUMN.",
                hint=f"Write --entity enterprise:uscc; entities are {', '.join(get_args(Entity))}.",
            )
        found[column] = cast("Entity", entity)
    return found


@app.command("add")
def add(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A CSV or Parquet file.")],
    *,
    dataset: Annotated[str, typer.Option("--id", metavar="ID", help="Name of the dataset.")],
    classify: Annotated[
        Path,
        typer.Option(metavar="DECLARATION.yaml", help="Title, level, columns: what you declare."),
    ],
    entity: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ENTITY:COLUMN", help="What a column identifies; repeat for more columns."
        ),
    ] = None,
    home: Home = Path(),
    as_json: Json = False,
) -> None:
    """Describe a file and make it a dataset of this node; again for a new revision.

    Only the descriptor is for others. What does not fit it in the data is told here and nowhere
    else. A running node has to be started again before it uses a new dataset.
    """
    from fusion.services import datasets
    from fusion.services.homes import NodeHome

    added = datasets.add(
        NodeHome.open(home),
        file,
        dataset=dataset,
        text=_text(classify),
        origin=str(classify),
        entities=_entities(entity or []),
    )
    if as_json:
        content = {
            "file": str(added.path),
            "registered": added.registered,
            "digest": added.descriptor.digest,
            "findings": [
                {"column": f.column, "what": f.what, "count": f.count, "looked_at": f.looked_at}
                for f in added.findings
            ],
            "descriptor": added.descriptor.document(),
        }
        output.document("fusion.dataset-added/1", content)
        return
    _show(added.descriptor)
    for finding in added.findings:
        output.note(_said(finding))
    if not added.registered:
        output.note("core data: described for yourself; no engine uses it, nothing is published")


@app.command("draft")
def draft(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A CSV or Parquet file.")],
) -> None:
    """Print a declaration to start from, with the columns of a file. Reads no row."""
    from fusion.catalogue.declaration import draft as made
    from fusion.connectors.schemas import read_schema

    output.result(made(file.stem, read_schema(file)).rstrip())


def _said(finding: Finding) -> str:
    what = {
        "invalid": "are no valid identifiers",
        "outside": "are outside of the declared domain",
        "missing": "are missing, and declared not to be",
    }[finding.what]
    share = 100 * finding.count / finding.looked_at
    return (
        f"{finding.column}: {finding.count} of {finding.looked_at} cells looked at ({share:.2g} %) "
        f"{what}"
    )


@app.command("list")
def list_datasets(
    *,
    home: Home = Path(),
    withdrawn: Annotated[
        bool, typer.Option("--withdrawn", help="Those withdrawn as well.")
    ] = False,
    as_json: Json = False,
) -> None:
    """List the datasets known here: this node's own, and what the federation has published."""
    from fusion.services import catalogue
    from fusion.services.homes import NodeHome, open_home

    opened = open_home(home)
    found = [
        signed.descriptor
        for signed in catalogue.folder_of(opened).all(withdrawn=withdrawn, note=output.note)
    ]
    bare: list[str] = []
    if isinstance(opened, NodeHome):
        own = {each.id for each in found if each.owner == opened.config.id}
        bare = [name for name in opened.config.data if name not in own]
    if as_json:
        content = {"datasets": [each.document() for each in found], "not_described": bare}
        output.document("fusion.datasets/1", content)
        return
    rows = [
        [
            each.name,
            f"{each.level}{', withdrawn' if each.withdrawn else ''}",
            each.rows,
            each.update_period,
            ", ".join(f"{c.key.entity}:{c.name}" for c in each.keys if c.key) or "–",
            ", ".join(each.actions) or "–",
            each.title.en if each.title.en == each.title.zh else f"{each.title.en} {each.title.zh}",
        ]
        for each in found
    ]
    output.table(["dataset", "level", "rows", "updated", "joins on", "actions", "title"], rows)
    for name in bare:
        output.note(f"{name} is in node.toml, and not described: fusion data add")


@app.command("show")
def show(dataset: Dataset, *, home: Home = Path(), as_json: Json = False) -> None:
    """Show a dataset's descriptor: columns, levels, identifiers, domains."""
    from fusion.services import catalogue
    from fusion.services.homes import NodeHome, open_home

    opened = open_home(home)
    owner = opened.config.id if isinstance(opened, NodeHome) else ""
    signed = catalogue.folder_of(opened).get(dataset, owner)
    if as_json:
        content = {"digest": signed.descriptor.digest, "descriptor": signed.descriptor.document()}
        output.document("fusion.dataset-shown/1", content)
        return
    _show(signed.descriptor)


def _show(found: Descriptor) -> None:
    output.facts(
        [
            ("dataset", found.name),
            ("title", f"{found.title.en} / {found.title.zh}"),
            ("level", found.level),
            ("revision", f"{found.revision} of {found.issued}"),
            ("rows", found.rows),
            ("updated", found.update_period),
            ("actions", ", ".join(found.actions) or "none"),
            ("schema_digest", found.schema_digest),
            *((f"  {column.name}", _column(column)) for column in found.columns),
        ]
    )


def _column(column: Column) -> str:
    from fusion.catalogue.descriptor import Categories, Dates, Range

    words: list[str] = [column.type, column.level]
    if column.key is not None:
        words.append(f"identifies {column.key.entity} ({column.key.scheme})")
    match column.domain:
        case Range(min=low, max=high):
            words.append(f"{low} to {high}")
        case Categories(values=values):
            words.append(f"{len(values)} categories")
        case Dates(first=first, last=last):
            words.append(f"{first} to {last}")
        case None:
            pass
    words += [column.unit or "", "" if column.nullable else "never missing"]
    return ", ".join(word for word in words if word)


@app.command("remove")
def remove(
    dataset: Annotated[str, typer.Argument(metavar="ID", help="A dataset of this node.")],
    *,
    home: Home = Path(),
    as_json: Json = False,
) -> None:
    """Withdraw a dataset: engines no longer find it. Its file and its budgets stay.

    If it was published, publish it once more, so that the others learn of it.
    """
    from fusion.services import datasets
    from fusion.services.homes import NodeHome

    after = datasets.remove(NodeHome.open(home), dataset)
    if as_json:
        content = {"dataset": after.name, "revision": after.revision}
        output.document("fusion.dataset-removed/1", content)
        return
    output.result(f"{after.name} withdrawn, revision {after.revision}")
    output.note("if it was published: fusion data publish, for the others")


@app.command("publish")
def publish(
    dataset: Annotated[
        str, typer.Argument(metavar="[ID]", help="A dataset of this node; at a hub none: all.")
    ] = "",
    *,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write it to this file instead.")
    ] = None,
    home: Home = Path(),
    as_json: Json = False,
) -> None:
    """Sign a descriptor and hand it to the hub, or write it to a file that goes there.

    At the hub, write the federation's catalogue to a file, for nodes without a way to the hub.
    """
    from fusion.services import catalogue, datasets
    from fusion.services.dialling import link_of
    from fusion.services.files import write_atomic
    from fusion.services.homes import HubHome, open_home

    opened = open_home(home)
    if out is not None:
        check_writable(out)
    if isinstance(opened, HubHome):
        if out is None:
            raise InputInvalid("Into which file?", hint="fusion data publish --out FILE")
        if dataset:
            raise InputInvalid(
                "A hub publishes the whole catalogue.", hint="Leave the dataset out."
            )
        data = catalogue.collected(opened)
    elif dataset:
        data = datasets.publish(opened, dataset).envelope
        if out is None:
            with link_of(opened) as link:
                link.hand_in(catalogue.CATALOGUE, data)
    else:
        raise InputInvalid("Which dataset?", hint="fusion data publish ID")
    if out is not None:
        write_atomic(out, data, 0o644)
    where = {"file": str(out)} if out is not None else {"hub": True}
    if as_json:
        output.document("fusion.published/1", {**where, "bytes": len(data)})
        return
    output.result(str(out) if out is not None else f"{dataset} is published to the federation")


@app.command("fetch")
def fetch(*, home: Home = Path(), as_json: Json = False) -> None:
    """Fetch the federation's catalogue from the hub; a node that is up does it by itself."""
    from fusion.services import catalogue
    from fusion.services.dialling import link_of
    from fusion.services.homes import NodeHome

    node = NodeHome.open(home)
    with link_of(node) as link:
        taken = catalogue.fetch(node, link)
    _told([taken], as_json=as_json)


@app.command("import")
def import_files(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE", help="Written by fusion data publish.")
    ],
    *,
    home: Home = Path(),
    as_json: Json = False,
) -> None:
    """Take in descriptors that others have published; each is verified with its owner's key."""
    from fusion.catalogue.signing import MAX_COLLECTION_BYTES
    from fusion.services import catalogue
    from fusion.services.homes import open_home

    opened = open_home(home)
    taken = [catalogue.take_file(opened, read_bounded(f, MAX_COLLECTION_BYTES)) for f in files]
    _told(taken, as_json=as_json)


def _told(taken: list[Taken], *, as_json: bool) -> None:
    """Print what became of catalogues that came in."""
    if as_json:
        output.document("fusion.imported/1", _taken(taken))
        return
    for each in taken:
        for name in each.new:
            output.result(f"{name}  taken in")
        for name in each.kept:
            output.result(f"{name}  known already")
        for name, reason in each.left_out:
            output.note(f"{name}: left out: {reason}")


def _taken(taken: list[Taken]) -> dict[str, object]:
    return {
        "new": [name for each in taken for name in each.new],
        "known": [name for each in taken for name in each.kept],
        "left_out": [
            {"from": name, "reason": reason} for each in taken for name, reason in each.left_out
        ],
    }


@app.command("mock")
def mock(
    dataset: Annotated[str, typer.Argument(metavar="ID", help="A dataset of this node.")],
    *,
    epsilon: Annotated[
        str, typer.Option(metavar="NUMBER", help="What the sample may cost in all: 0.5.")
    ],
    rows: Annotated[int, typer.Option(metavar="N", min=1, help="Rows to make up.")] = 1000,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for the two files.")] = Path(),
    home: Home = Path(),
    as_json: Json = False,
) -> None:
    """Make up rows in the shape of a dataset, from differentially private counts.

    Epsilon is charged to this node's own budget for the dataset before its table is read. Beside
    the sample lies its description (Croissant), which says what it cost.
    """
    from fusion.services import mock as service
    from fusion.services.homes import NodeHome

    written = service.make(
        NodeHome.open(home),
        dataset,
        epsilon_micro=service.epsilon_of(epsilon),
        rows=rows,
        out=out,
    )
    if as_json:
        content = {
            "sample": str(written.sample),
            "description": str(written.description),
            "says": written.sentence,
            "left": {
                "epsilon_micro": written.left.epsilon_micro,
                "runs": written.left.runs,
                "rows": written.left.rows,
            },
        }
        output.document("fusion.mock/1", content)
        return
    output.result(str(written.sample))
    output.result(str(written.description))
    output.note(written.sentence)
    left = written.left
    output.note(
        f"left of the budget: epsilon {left.epsilon_micro / 1_000_000:g}, {left.runs} samples, "
        f"{left.rows} rows"
    )


@app.command("graph")
def graph(
    *,
    html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="Write it as one HTML page.")
    ] = None,
    svg: Annotated[
        Path | None, typer.Option("--svg", metavar="FILE", help="Write the drawing by itself.")
    ] = None,
    language: Annotated[str, typer.Option(metavar="en|zh", help="What is shown first.")] = "en",
    home: Home = Path(),
    as_json: Json = False,
) -> None:
    """Show what can be joined on what: datasets, owners, entities, and grants that hold."""
    from fusion.services import catalogue_views as views
    from fusion.services.files import write_atomic
    from fusion.services.homes import open_home

    check_writable(html)
    check_writable(svg)
    if language not in {"en", "zh"}:
        raise InputInvalid(f"{language} is no language of this page.", hint="--language en or zh")
    opened = open_home(home)
    found = views.graph(opened, output.note)
    if html is not None:
        write_atomic(html, views.page(opened, found, language).encode(), 0o644)
    if svg is not None:
        write_atomic(svg, views.picture(found, language).encode(), 0o644)
    for path in filter(None, (html, svg)):
        output.note(f"written to {path}")
    if as_json:
        output.document("fusion.entity-graph/1", found.to_json())
        return
    rows = [
        [f"{join.node.entity} ({join.node.scheme})", *map(".".join, (join.left, join.right))]
        for join in found.joins()
    ]
    output.table(["entity", "one", "the other"], rows)
    output.note(
        f"{len(found.datasets)} datasets, {len(found.entities)} entities, {len(rows)} joins"
    )


@app.command("export")
def export(
    *,
    dcat: Annotated[  # noqa: ARG001 - the one format so far, named so that another can join it
        bool, typer.Option("--dcat", help="As DCAT 3 in JSON-LD; this is the only format so far.")
    ] = True,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write it to this file, not to stdout.")
    ] = None,
    home: Home = Path(),
) -> None:
    """Export the datasets known here as a DCAT 3 catalogue (JSON-LD), for other catalogues.

    Important and core data are left out: their descriptors stay within the federation.
    """
    from fusion.services import catalogue_views as views
    from fusion.services.files import write_atomic
    from fusion.services.homes import open_home

    check_writable(out)
    document, left_out = views.as_dcat(open_home(home), output.note)
    if out is None:
        output.document("fusion.dcat/1", document)
    else:
        text = json.dumps(document, ensure_ascii=False, indent=2) + "\n"
        write_atomic(out, text.encode(), 0o644)
        output.result(str(out))
    if left_out:
        output.note(f"left out, not being general data: {', '.join(left_out)}")
