"""The demo: a scratch federation on this machine, run through the verbs of a real deployment.

A hub and one node an organisation run as processes of their own over TLS, each with its own
folder. This module types for the operators; what it does itself is to watch the run, to compare
the result with pooled data (here, and nowhere else, one process sees all tables), and to write
the report.
"""

from __future__ import annotations

import json
import re
import shutil
import tempfile
import threading
import time
import tomllib
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from fusion.errors import FusionError, InputInvalid, PartyFailed
from fusion.link.loopback import free_port
from fusion.reports.training import engines_of, render
from fusion.services import demo_queries, demo_vertical, engines
from fusion.services.demo_grants import grant_study
from fusion.services.demo_ledgers import await_witnesses, export_and_audit
from fusion.services.files import write_atomic
from fusion.services.homes import HubHome, NodeHome
from fusion.services.keys import SHARE, keyring_of
from fusion.services.processes import Child, Children
from fusion.services.run_basis import all_granted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from fusion.engine_ports import TrainingEngine
    from fusion.services.grants import Home

    Event = Mapping[str, Any]

SCHEMA: Final = "fusion.demo/1"
MODELS: Final = {"logistic": "study", "mlp": "study-mlp"}
_VERB_SECONDS: Final = 120.0
_CEREMONY_SECONDS: Final = 900.0
_READY_SECONDS: Final = 120.0
_MAX_SEARCHED_BYTES: Final = 1 << 28


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What the user asked for.

    Attributes:
        model: ``logistic`` or ``mlp``.
        rounds: Instead of the study's own number.
        keep: Folder for the federation, which then stays; otherwise only the report does.
    """

    model: str = "logistic"
    rounds: int | None = None
    keep: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Watcher:
    """Whoever shows the demo.

    Attributes:
        step: Told of each step when it is done, with its seconds.
        event: Told of each event of the run.
        say: Told what went wrong, in lines.
    """

    step: Callable[[str, float], None]
    event: Callable[[Event], None]
    say: Callable[[str], None]


@dataclass(slots=True)
class _Stage:
    """What the demo works with."""

    folder: Path
    study: Path
    text: str
    tables: Mapping[str, Path]
    watcher: Watcher
    vertical: Path
    columns: Mapping[str, tuple[str, Path]]
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def hub(self) -> Path:
        return self.folder / "hub"

    def node(self, organisation: str) -> Path:
        return self.folder / organisation

    @property
    def nodes(self) -> dict[str, Path]:
        return {org: self.node(org) for org in self.tables}

    @contextmanager
    def step(self, key: str, words: str) -> Iterator[None]:
        """Time a step and report it."""
        began = time.monotonic()
        yield
        self.seconds[key] = time.monotonic() - began
        self.watcher.step(words, self.seconds[key])


def run(wishes: Wishes, watcher: Watcher) -> dict[str, Any]:
    """Run the demo; return its result document.

    Raises:
        InputInvalid: The folder is in use, or the number of rounds makes no sense.
        PartyFailed: One of the processes failed; the tail of its log was shown.
        FusionError: The run did not end well.
    """
    began = time.monotonic()
    engine = engines.training()
    text = _study_text(engine, wishes)
    folder = _folder(wishes.keep)
    try:
        stage = _stage(engine, folder, text, watcher)
        # Children end first: who waits for an answer of one of them then does so no longer.
        with (
            ThreadPoolExecutor(1) as aside,
            ThreadPoolExecutor(1) as beside,
            Children(folder / "logs", watcher.say) as children,
        ):
            key, grant, prepared = _set_up(stage, children, engine, aside)
            stage.seconds["setup"] = time.monotonic() - began
            asked = aside.submit(lambda: demo_queries.ask(prepared.result(), stage.nodes))
            columns = beside.submit(lambda: _columns(stage, children, engine))
            record = _train(stage, children, engine)
            queries = _answers(stage, asked)
            vertical = _joined(stage, columns)
            holds_share = hub_holds_share(stage.hub, [stage.node(org) for org in stage.tables])
            baselines = _compare(stage, engine, str(record["job"]))
            nodes = [stage.node(org) for org in stage.tables]
            with stage.step("witness", "every log cosigned by a majority of the others"):
                await_witnesses(stage.hub, nodes, str(record["job"]), children)
            with stage.step("shutdown", "every process stopped in order"):
                children.stop_all()
            with stage.step("audit", f"{1 + len(nodes)} logs exported and audited, offline"):
                ledgers = export_and_audit(stage.hub, nodes, folder / "ledgers", children)
        held = {**record["key"], **key, "hub_holds_share": holds_share}
        record = {**record, "key": held, "grant": grant, "ledgers": ledgers, "queries": queries}
        record["vertical"] = vertical
        homes: list[Home] = [HubHome.open(stage.hub), *map(NodeHome.open, nodes)]
        record["all_grants"] = all_granted(homes)
        report = folder / "report.html"
        write_atomic(report, render(record, baselines=baselines).encode(), 0o644)
        stage.seconds["total"] = time.monotonic() - began
        return _document(wishes, stage, record, baselines, report)
    except FusionError:
        if (folder / "logs").exists():
            watcher.say(f"logs of all processes: {folder / 'logs'}")
        raise
    finally:
        if wishes.keep is None:
            sweep(folder)


# ------------------------------------------------------------------------------- steps


def _study_text(engine: TrainingEngine, wishes: Wishes) -> str:
    """Return the study as it will run, checked before anything is made for it."""
    text = Path(engine.demo_files()[MODELS[wishes.model]]).read_text("utf-8")
    if wishes.rounds is not None:
        if wishes.rounds < 1:
            raise InputInvalid("A run has at least one round.", hint="fusion demo --rounds 3")
        text, changed = re.subn(
            r"(?m)^rounds\s*=\s*\d+", f"rounds = {wishes.rounds}", text, count=1
        )
        if not changed:
            raise InputInvalid("The demo's study names no number of rounds.")
    engine.check(text, "study.toml")
    return text


def _stage(engine: TrainingEngine, folder: Path, text: str, watcher: Watcher) -> _Stage:
    """Lay out the study."""
    files = engine.demo_files()
    study = folder / "study.toml"
    study.write_text(text, "utf-8")
    tables = {str(org): Path(path) for org, path in files["tables"].items()}
    vertical = Path(files["study-vertical"])
    columns = demo_vertical.write_tables(vertical.read_text("utf-8"), tables, folder / "columns")
    return _Stage(
        folder=folder, study=study, text=text, tables=tables, watcher=watcher, vertical=vertical,
        columns=columns,
    )  # fmt: skip


def _set_up(
    stage: _Stage, children: Children, engine: TrainingEngine, aside: ThreadPoolExecutor
) -> tuple[dict[str, Any], dict[str, Any], Future[demo_queries.Prepared]]:
    """Make hub, nodes, key and grant, and start everything.

    Returns:
        Key and grant in short, and what is being prepared for questions meanwhile.
    """
    study = tomllib.loads(stage.text)
    with stage.step("make", f"hub and {len(stage.tables)} nodes made, each in its own folder"):
        invitation = _make_hub(stage, children)
        _make_nodes(stage, children, invitation, str(study["study"]["dataset"]))
    with stage.step("admit", "requests checked, roster signed"):
        requests = [NodeHome.open(stage.node(org)).request for org in stage.tables]
        admit = children.start("admit", "hub", "admit", "--hub", stage.hub, *requests)
        children.finish([admit], seconds=_VERB_SECONDS)
    key: dict[str, Any] = {
        "bits": int(study["key"]["bits"]),
        "holders": [str(name) for name in study["key"]["holders"]],
        "threshold": int(study["key"]["threshold"]),
    }
    # The search for primes takes what time it takes: everything else starts meanwhile.
    words = f"{key['threshold']} of {len(key['holders'])} shares decrypt"
    with stage.step("key", f"{key['bits']}-bit key dealt and its shares imported: {words}"):
        ceremony = _start_ceremony(stage, children, key)
        children.start("hub", "hub", "up", stage.hub)
        for org in stage.tables:
            children.start(org, "node", "up", stage.node(org))
        grant = _grant(stage, children)
        policy = Path(engine.demo_files()["policy"])
        table = stage.tables[demo_queries.OWNER]
        questions = (policy, table, stage.nodes, stage.folder / "questions")
        prepared = aside.submit(demo_queries.prepare, *questions)
        printed = children.finish([ceremony], seconds=_CEREMONY_SECONDS)
        _import(stage, children, json.loads(printed[0]))
    with stage.step("up", "hub and nodes up and connected; they had been starting meanwhile"):
        ready = [
            HubHome.open(stage.hub).ready,
            *(NodeHome.open(stage.node(o)).ready for o in stage.tables),
        ]
        children.wait_for(ready, seconds=_READY_SECONDS)
    return key, grant, prepared


def _grant(stage: _Stage, children: Children) -> dict[str, Any]:
    """Have the study's grant signed by everyone; without it no node takes part."""
    nodes = {org: stage.node(org) for org in stage.tables}
    homes = [NodeHome.open(node) for node in nodes.values()]
    words = f"meanwhile a grant was proposed, signed by all {len(nodes) + 1}, over the hub's port"
    with stage.step("grant", words):
        # The nodes have to know who else is a member.
        admitted = [file for home in homes for file in (home.trust_file, home.roster_file)]
        children.wait_for(admitted, seconds=_READY_SECONDS)
        demo_vertical.grant(stage.vertical.read_text("utf-8"), nodes)
        study = tomllib.loads(stage.text)
        return grant_study(study, stage.hub, nodes, children, stage.folder / "grant")


def _make_hub(stage: _Stage, children: Children) -> str:
    address = f"127.0.0.1:{free_port()}"
    words = ("--address", address, "--no-passphrase", "--json")
    made = children.start("hub-init", "hub", "init", stage.hub, *words)
    return str(json.loads(children.finish([made], seconds=_VERB_SECONDS)[0])["invitation"])


def _make_nodes(stage: _Stage, children: Children, invitation: str, dataset: str) -> None:
    making = []
    for org, table in stage.tables.items():
        words = ["--hub", invitation, "--org", org, "--data", f"{dataset}={table}"]
        if org in stage.columns:
            name, path = stage.columns[org]
            words += ["--data", f"{name}={path}"]
        words.append("--no-passphrase")
        making.append(children.start(f"{org}-init", "node", "init", stage.node(org), *words))
    children.finish(making, seconds=_VERB_SECONDS)


def _start_ceremony(stage: _Stage, children: Children, key: Mapping[str, Any]) -> Child:
    return children.start(
        "ceremony",
        *("key", "ceremony", "--roster", HubHome.open(stage.hub).roster_file),
        *("--holders", ",".join(key["holders"]), "--threshold", str(key["threshold"])),
        *("--bits", str(key["bits"]), "--out", stage.folder / "ceremony", "--json"),
    )


def _import(stage: _Stage, children: Children, dealt: Mapping[str, Any]) -> None:
    """Hand out the shares; the hub and those without one get the public file."""
    transcript = ("--transcript", dealt["transcript"])
    importing = [
        children.start(
            "hub-key", "key", "import", dealt["document"], "--hub", stage.hub, *transcript
        )
    ]
    for org in stage.tables:
        file = dealt["files"].get(org, dealt["document"])
        where = ("--node", stage.node(org))
        importing.append(children.start(f"{org}-key", "key", "import", file, *where, *transcript))
    children.finish(importing, seconds=_VERB_SECONDS)


def _train(stage: _Stage, children: Children, engine: TrainingEngine) -> dict[str, Any]:
    """Have the operator order the run over the hub's port; watch it; return its record."""
    operator = str(tomllib.loads(stage.text)["study"]["operator"])
    with stage.step("run", f"run that {operator} ordered finished"):
        home = ("--home", stage.node(operator))
        started = children.start("train", "train", stage.study, *home, "--detach", "--json")
        job = str(json.loads(children.finish([started], seconds=_VERB_SECONDS)[0])["job"])
        hub = HubHome.open(stage.hub)
        end: Event = {}
        with _stopping_with(children) as stop:
            for event in engine.follow(hub, job, stop=stop):
                stage.watcher.event(event)
                if event.get("event") == "end":
                    end = event
        children.check()
    if not end:
        raise FusionError("The record of the run breaks off.")
    if end.get("status") != "done":
        raise PartyFailed(
            str(end.get("message") or "The run did not end well."),
            code=str(end.get("code") or "F-100"),
            exit_code=int(end.get("exit_code") or 1),
        )
    return engine.result(hub, job)


def _answers(stage: _Stage, asked: Future[dict[str, Any]]) -> dict[str, Any]:
    """Return what became of the questions that were asked while the model was trained."""
    told = asked.result()
    stage.seconds["questions"] = told["seconds"]
    words = "no questions asked: nothing here confines work; fusion doctor says why"
    if told["available"]:
        words = f"meanwhile {told['asker']} asked {told['owner']} {demo_queries.counted(told)}"
    stage.watcher.step(words, told["seconds"])
    return told


def _columns(stage: _Stage, children: Children, engine: TrainingEngine) -> dict[str, Any]:
    """Run the vertical study, beside the other; return its record, and what to compare it with."""
    text = stage.vertical.read_text("utf-8")
    operator = str(tomllib.loads(text)["study"]["operator"])
    record = demo_vertical.run(
        stage.vertical, stage.hub, stage.node(operator), children, engine, children.any_failed
    )
    files = {org: path for org, (_, path) in stage.columns.items()}
    told = demo_vertical.leakage(NodeHome.open(stage.node(record["label_party"])), record)
    record["leakage"] = told
    return {**record, "baselines": engine.vertical_baselines(text, files)}


def _joined(stage: _Stage, columns: Future[dict[str, Any]]) -> dict[str, Any]:
    """Return the record of the vertical run that was on its way beside the other."""
    record = columns.result()
    quality, label = record["quality"], record["label_party"]
    joint, alone = quality["joint"]["test"], quality["alone"]["test"]
    words = f"same people, different columns: AUC {joint:.4f}, {label} alone {alone:.4f}"
    stage.seconds["columns"] = record["wall_seconds"]
    stage.watcher.step(f"meanwhile {words}", record["wall_seconds"])
    return record


@contextmanager
def _stopping_with(children: Children) -> Iterator[threading.Event]:
    """Yield an event that is set when a background process has failed: nobody waits in vain."""
    stop, over = threading.Event(), threading.Event()

    def watch() -> None:
        while not over.wait(0.5):
            if children.any_failed():
                stop.set()
                return

    thread = threading.Thread(target=watch, name="demo-watch", daemon=True)
    thread.start()
    try:
        yield stop
    finally:
        over.set()
        thread.join()


def _compare(stage: _Stage, engine: TrainingEngine, job: str) -> dict[str, Any]:
    """Train on each table alone and on all of them pooled, which only a demo can."""
    log = HubHome.open(stage.hub).runs / job / "journal.sqlite"
    with stage.step("compare", "compared with each organisation alone and with pooled data"):
        return engine.baselines(stage.text, stage.tables, log)


def hub_holds_share(hub: Path, nodes: list[Path]) -> bool:
    """Look whether any node's share lies anywhere in the hub's folder.

    Every file of the hub is searched for the bytes of every share, sealed and as they are, as
    hexadecimal and as decimal text; a sealed share is recognised by its name, too.

    Raises:
        InputInvalid: No node holds a share, so that finding none would mean nothing.
    """
    needles: set[bytes] = set()
    for node in nodes:
        home = NodeHome.open(node)
        for path in home.paillier.glob(f"*/{SHARE}"):
            sealed = path.read_bytes()
            share = keyring_of(home).share(path.parent.name)
            if share is not None:
                raw = share.to_bytes((share.bit_length() + 7) // 8, "big")
                needles |= {sealed, sealed.hex().encode(), raw, raw.hex().encode()}
                needles |= {str(share).encode()}
    if not needles:
        raise InputInvalid("No node holds a share that could be looked for.")
    for path in hub.rglob("*"):
        if path.is_file() and path.stat().st_size <= _MAX_SEARCHED_BYTES:
            content = path.read_bytes()
            if path.suffix == ".share" or any(needle in content for needle in needles):
                return True
    return False


# ------------------------------------------------------------------------------ results


def _document(
    wishes: Wishes,
    stage: _Stage,
    record: Mapping[str, Any],
    baselines: Mapping[str, Any],
    report: Path,
) -> dict[str, Any]:
    """Return the result as ``fusion demo --json`` prints it."""
    return {
        "schema": SCHEMA,
        "model": wishes.model,
        "organisations": baselines["organisations"],
        "auc": baselines["auc"],
        "rounds": int(tomllib.loads(stage.text)["study"]["rounds"]),
        "max_abs_error_vs_plain": baselines["max_abs_error_vs_plain"],
        "bytes_per_parameter": record["bytes_per_parameter"],
        "key": record["key"],
        "grant": record["grant"],
        "queries": record["queries"],
        "vertical": demo_vertical.summary(record["vertical"]),
        "ledgers": _ledgers(record["ledgers"]),
        "engines": engines_of(record),
        "seconds": {key: round(value, 2) for key, value in _seconds(stage, record).items()},
        "report": str(report),
    }


def _ledgers(audited: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return what the audit found, a line a log: it raises where a log does not hold together."""
    names = ("organisation", "entries", "witnessed", "witnesses", "quorum", "others", "root")
    return [{name: log[name] for name in names} for log in audited["logs"]]


def _seconds(stage: _Stage, record: Mapping[str, Any]) -> dict[str, float]:
    """Return where the time went: the steps of the demo and the parts of the rounds."""
    spent = dict.fromkeys(("train", "encrypt", "wait", "aggregate", "decrypt", "combine"), 0.0)
    for event in record.get("rounds", []):
        for key in spent:
            spent[key] += float(event.get("seconds", {}).get(key) or 0.0)
    return {**stage.seconds, **spent}


# ------------------------------------------------------------------------------- folders


def _folder(keep: Path | None) -> Path:
    """Return an empty folder."""
    if keep is None:
        return Path(tempfile.mkdtemp(prefix="fusion-demo-"))
    try:
        keep.mkdir(mode=0o700, parents=True, exist_ok=True)
        used = any(keep.iterdir())
    except (FileExistsError, NotADirectoryError):
        used = True
    except OSError as error:
        raise InputInvalid(
            f"{keep} can't be made: {error.strerror}.", hint="Name a folder of yours for --keep."
        ) from error
    if used:
        raise InputInvalid(f"{keep} is in use.", hint="Name a new folder for --keep.")
    return keep.resolve()


def sweep(folder: Path) -> None:
    """Leave the report and the logs, nothing else: the folders hold private keys."""
    report = folder / "report.html"
    kept = {report} if report.exists() else {folder / "logs"}
    for path in folder.iterdir():
        if path in kept:
            continue
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    if not any(folder.iterdir()):
        folder.rmdir()
