"""``fusion python`` at an owner's: read jobs, approve or refuse, look at tables, let them go."""

# ruff: noqa: PLC0415 - a verb imports when it runs: --help stays quick, and so do light verbs

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fusion.cli import output
from fusion.cli.options import Json
from fusion.errors import InputInvalid

if TYPE_CHECKING:
    from fusion.services.homes import NodeHome
    from fusion.services.python_shelf import RunRecord, Shelved

Home = Annotated[
    Path,
    typer.Option(
        "--home",
        metavar="DIR",
        envvar="FUSION_HOME",
        show_envvar=False,
        help="The owner's folder, else $FUSION_HOME or this one.",
    ),
]
Job = Annotated[str, typer.Argument(metavar="DIGEST", help="Of the job, or 8 digits of it.")]
Why = Annotated[str, typer.Option("--why", metavar="TEXT", help="The reason.")]


class Release(StrEnum):
    """What of a run leaves by itself."""

    AUTOMATIC = "automatic"
    CHECKED = "checked"


def register(app: typer.Typer) -> None:
    """Add the owner's verbs to those of the analyst."""
    for name, verb in (
        ("review", review),
        ("approve", approve),
        ("refuse", refuse),
        ("runs", runs),
        ("release", release),
    ):
        app.command(name)(verb)


def review(
    job: Annotated[
        str | None,
        typer.Argument(metavar="DIGEST", help="Of a job, or 8 digits of it; else all are listed."),
    ] = None,
    *,
    home: Home = Path(),
    as_json: Json = False,
) -> None:
    """List jobs, or show one: what it may return, its code, the diff to the last approved."""
    from fusion.services import python_review as service
    from fusion.services.homes import NodeHome
    from fusion.services.python_shelf import Shelf

    node = NodeHome.open(home)
    if job is not None:
        _show(node, service.found(node, job), as_json=as_json)
        return
    jobs = [service.described(each) for each in Shelf(node).jobs()]
    if as_json:
        output.document("fusion.python-jobs/1", {"jobs": jobs})
        return
    rows = [
        [each["job"][:16], each["state"], each["assignee"], each["dataset"], each["bytes"],
         each["form"], each["submitted"]]
        for each in jobs
    ]  # fmt: skip
    output.table(["job", "state", "by", "dataset", "bytes", "form", "submitted"], rows)


def _show(node: NodeHome, job: Shelved, *, as_json: bool) -> None:
    from fusion.services import python_review as service

    before, diff = service.difference(node, job)
    content = service.described(job)
    if as_json:
        own = {"returns": job.job.returns.document(), "script": job.script}
        output.document("fusion.python-job/1", content | own | {"before": before, "diff": diff})
        return
    verdict = job.verdict
    output.facts(
        [
            ("job", content["job"]),
            ("state", content["state"]),
            *([] if verdict is None else _said(verdict.document())),
            ("by", content["assignee"]),
            ("dataset", f"{content['dataset']} at revision {content['revision']}"),
            ("purpose", content["purpose"]),
            ("note", content["note"]),
            *_declared(job.job.returns.document()),
        ]
    )
    output.result("")
    _numbered(job.script)
    if diff:
        output.result(f"\nagainst {before}, which was approved before:")
        for line in diff:
            output.result(output.clean(line))
    elif before:
        output.result(f"\nthe same script as {before}, which was approved before")


def _said(verdict: dict[str, Any]) -> list[tuple[str, object]]:
    if verdict["verdict"] == "refused":
        return [("why", verdict["why"])]
    told = f"{verdict['release']}, {verdict['runs']} runs, until {verdict['not_after']}"
    return [("approval", told)]


def _declared(returns: dict[str, Any]) -> list[tuple[str, object]]:
    found: list[tuple[str, object]] = [
        ("returns", f"{returns['form']}, {returns['max_rows']} rows")
    ]
    for table, columns in returns["reads"].items():
        found.append(("  reads", f"{table}: {', '.join(columns)}"))
    for column in returns["columns"]:
        values = f"of {column['of']}" if column["of"] else ", ".join(column["categories"])
        found.append((f"  {column['name']}", f"{column['kind']} {values}".strip()))
    for measure in returns["measures"]:
        bounds = "" if measure["low"] is None else f" of {measure['low']} to {measure['high']}"
        found.append((f"  {measure['name']}", f"{measure['statistic']}{bounds}"))
    return found


def _numbered(script: str) -> None:
    for number, line in enumerate(script.splitlines(), 1):
        output.result(f"{number:>4} | {output.clean(line)}".rstrip())


def approve(
    job: Job,
    *,
    release: Annotated[
        Release,
        typer.Option(
            "--release",
            help="checked: you look at each table first; automatic: the policy's rules suffice.",
        ),
    ] = Release.CHECKED,
    runs: Annotated[int, typer.Option(min=1, max=1_000_000, help="How many.")] = 1,
    days: Annotated[int, typer.Option(min=1, max=366, help="For how long.")] = 30,
    home: Home = Path(),
    as_json: Json = False,
) -> None:
    """Sign that a job may run: this script, this declaration, this data, by who submitted it."""
    from fusion.services import python_review as service
    from fusion.services.homes import NodeHome

    node = NodeHome.open(home)
    verdict = service.judge(node, job, release=release.value, runs=runs, days=days)
    if as_json:
        output.document("fusion.python-verdict/1", {"signed": verdict.document()})
        return
    output.facts(_said(verdict.document()))


def refuse(job: Job, *, why: Why, home: Home = Path(), as_json: Json = False) -> None:
    """Sign that a job may not run, whatever was said before; the analyst is told the reason."""
    from fusion.services import python_review as service
    from fusion.services.homes import NodeHome

    if not why:
        raise InputInvalid("A refusal says why.")
    verdict = service.judge(NodeHome.open(home), job, why=why)
    if as_json:
        output.document("fusion.python-verdict/1", {"signed": verdict.document()})
        return
    output.result(f"refused {verdict.job}")


def runs(
    run: Annotated[
        str | None, typer.Argument(metavar="RUN", help="One of them, with what it printed.")
    ] = None,
    *,
    home: Home = Path(),
    as_json: Json = False,
) -> None:
    """Show the runs of jobs: how each ended, and of one what it printed, which can hold rows."""
    from fusion.services import python_review as service
    from fusion.services.homes import NodeHome
    from fusion.services.python_shelf import Shelf

    node = NodeHome.open(home)
    shelf = Shelf(node)
    if run is None:
        found = shelf.runs()
        if as_json:
            output.document("fusion.python-runs/1", {"runs": [each.model_dump() for each in found]})
            return
        rows = [
            [each.run, each.state, each.assignee, each.dataset, each.job[:16], each.ending,
             "" if each.exit_code is None else each.exit_code, f"{each.milliseconds} ms", each.at]
            for each in found
        ]  # fmt: skip
        heads = ["run", "state", "by", "dataset", "job", "ended", "exit", "took", "at"]
        output.table(heads, rows)
        return
    record = service.found_run(node, run)
    if as_json:
        content = {**record.model_dump(), "log": shelf.log(record)}
        output.document("fusion.python-run/1", content)
        return
    output.facts([(name.replace("_", " "), value) for name, value in record.model_dump().items()])
    output.result("")
    for line in shelf.log(record).splitlines():
        output.result(output.clean(line))


def release(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run whose table is held.")],
    *,
    digest: Annotated[
        str,
        typer.Option("--digest", metavar="HEX", help="Let the table go that has this digest."),
    ] = "",
    withhold: Annotated[
        bool, typer.Option("--withhold", help="Keep the table back for good.")
    ] = False,
    why: Annotated[
        str, typer.Option("--why", metavar="TEXT", help="Kept here beside --withhold.")
    ] = "",
    home: Home = Path(),
    as_json: Json = False,
) -> None:
    """Show the table that a run made; with its digest let it go, or keep it back for good."""
    from fusion.services import python_review as service
    from fusion.services.homes import NodeHome

    node = NodeHome.open(home)
    if digest and withhold:
        raise InputInvalid("A table is let go or kept back, not both.")
    if digest:
        _stands(service.release(node, run, digest), as_json=as_json)
        return
    if withhold:
        _stands(service.withhold(node, run, why), as_json=as_json)
        return
    record, table = service.table_of(node, run)
    if as_json:
        shown = json.loads(table.model_dump_json())
        output.document(
            "fusion.python-held/1", {"state": record.state, "digest": record.digest, **shown}
        )
        return
    cells = [["" if each is None else each for each in row] for row in table.rows]
    output.table(table.columns, cells)
    output.note(f"{record.state}, {len(table.rows)} rows, digest {record.digest}")
    if record.state == "held":
        output.note(f"-> fusion python release {record.run} --digest {record.digest}")


def _stands(record: RunRecord, *, as_json: bool) -> None:
    if as_json:
        content = {"run": record.run, "state": record.state, "digest": record.digest}
        output.document("fusion.python-stands/1", content)
        return
    output.result(f"{record.run} is {record.state}")
