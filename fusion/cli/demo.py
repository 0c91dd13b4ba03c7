"""``fusion demo``: four organisations train one model on this machine."""

# ruff: noqa: PLC0415 - a verb imports when it runs: --help stays quick, and so do light verbs

from __future__ import annotations

import signal
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Self

import typer

from fusion.cli import output

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from types import FrameType

    from fusion.cli.live import TrainingView


class Model(StrEnum):
    """The models that the demo has a study for."""

    logistic = "logistic"
    mlp = "mlp"


def demo(
    *,
    model: Annotated[Model, typer.Option(help="What is trained.")] = Model.logistic,
    rounds: Annotated[
        int | None, typer.Option(metavar="N", help="Rounds, instead of the study's own number.")
    ] = None,
    keep: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Make the federation here and leave it for a look."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Show it: four organisations train one model.

    A hub and four nodes as processes of their own, over TLS, with Paillier-encrypted updates.
    Everything happens on this machine, in a folder of its own, and is stopped at the end.
    """
    from fusion.services import demo as service

    wishes = service.Wishes(model=model.value, rounds=rounds, keep=keep)
    with _terminable(), _Stage() as stage:
        watcher = service.Watcher(step=stage.step, event=stage.event, say=output.lines)
        outcome = service.run(wishes, watcher)
    if as_json:
        content = {key: value for key, value in outcome.items() if key != "schema"}
        output.document(service.SCHEMA, content)
        return
    _closing(outcome)


class _Stage:
    """Shows the steps, and the run's live view while it lasts."""

    def __init__(self) -> None:
        """Nothing is shown yet."""
        self._view: TrainingView | None = None

    def __enter__(self) -> Self:
        """Say what begins."""
        output.note("a hub and four organisations on this machine, over TLS")
        return self

    def __exit__(self, *_: object) -> None:
        """Leave the last state of the view on the screen."""
        self._close()

    def step(self, words: str, seconds: float) -> None:
        """Say that a step is done."""
        self._close()
        output.note(f"  {seconds:5.1f} s  {words}")

    def event(self, event: Mapping[str, Any]) -> None:
        """Show an event of the run."""
        from fusion.cli.live import TrainingView

        if self._view is None:
            self._view = TrainingView()
            self._view.__enter__()
        self._view.feed(event)

    def _close(self) -> None:
        if self._view is not None:
            self._view.__exit__(None, None, None)
            self._view = None


@contextmanager
def _terminable() -> Iterator[None]:
    """Let SIGTERM end the demo as Ctrl-C does, so that it stops what it started."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _closing(outcome: Mapping[str, Any]) -> None:
    """Print the closing table and where the time went."""
    joint, pooled = outcome["auc"]["joint"], outcome["auc"]["pooled"]
    rows: list[tuple[object, ...]] = [
        (f"{item['id']} alone", f"{item['rows']:,}", _measure(item["auc_alone"]))
        for item in outcome["organisations"]
    ]
    rows.append(("all, jointly, encrypted", "", _measure(joint)))
    rows.append(("all tables pooled, for comparison", "", _measure(pooled)))
    output.result("")
    output.table(("trained on", "rows", "AUC"), rows)
    key, seconds, grant = outcome["key"], outcome["seconds"], outcome["grant"]
    share = "holds a share" if key["hub_holds_share"] else "holds no share"
    steps = ("setup", "run", "questions", "compare", "witness", "shutdown", "audit", "total")
    parts = ("train", "encrypt", "wait", "aggregate", "decrypt", "combine")
    output.result("")
    output.facts(
        [
            ("rounds", f"{outcome['rounds']}, {outcome['model']} model"),
            (
                "key",
                f"{key['bits']} bits, {key['threshold']} of {len(key['holders'])}; hub {share}",
            ),
            ("computed by", "; ".join(outcome["engines"])),
            (
                "grant",
                f"{grant['id'][:16]} to {grant['assignee']}, {len(grant['signed'])} signatures",
            ),
            ("queries", _queries(outcome["queries"])),
            ("same people, different columns", _columns(outcome["vertical"])),
            ("encrypted against plain sums", f"{outcome['max_abs_error_vs_plain']:.1e} at most"),
            ("logs, audited offline", _logs(outcome["ledgers"])),
            ("bytes per encrypted parameter", f"{outcome['bytes_per_parameter']:.1f}"),
            ("seconds", _parts(seconds, steps)),
            ("  of the run, in rounds", _parts(seconds, parts)),
            ("report", outcome["report"]),
        ]
    )


def _queries(told: Mapping[str, Any]) -> str:
    """Say in one line what was asked."""
    from fusion.services.demo_queries import counted

    if not told["available"]:
        return "none: nothing here confines work; fusion doctor says why"
    return f"{told['asker']} asked {told['owner']} {counted(told)}"


def _columns(told: Mapping[str, Any]) -> str:
    """Say in one line what columns of several owners gave together, and each alone."""
    joint, alone = told["quality"]["joint"]["test"], told["columns_alone"]
    each = ", ".join(f"{name} {_measure(alone[name]['test'])}" for name in told["parties"])
    return f"AUC {_measure(joint)} jointly; alone, given the label: {each}"


def _measure(value: float | None) -> str:
    """Return a measure; a dash where it is not defined."""
    return "-" if value is None else f"{value:.4f}"


def _logs(ledgers: Sequence[Mapping[str, Any]]) -> str:
    """Say in one line what the audit found; a log that does not hold together ends the demo."""
    entries = sum(log["entries"] for log in ledgers)
    witnessed = sum(log["witnessed"] for log in ledgers)
    least = min(len(log["witnesses"]) for log in ledgers)
    return (
        f"{len(ledgers)} hold together, {entries} entries, {witnessed} of them cosigned by at "
        f"least {least} other organisations"
    )


def _parts(seconds: Mapping[str, float], names: tuple[str, ...]) -> str:
    return "  ".join(f"{name} {seconds[name]:.1f}" for name in names)
