"""The training engine as the command line finds it: every verb about training, in one object.

Registered as ``training`` in the entry points ``fusion.engines``; see
:class:`fusion.engine_ports.TrainingEngine`. Flower is imported inside the two functions that serve.
"""

from __future__ import annotations

import json
import logging
import os
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from federated.jobs import OPEN, JobFolder, job_of, listed
from federated.records import record
from federated.study import parse_study
from federated.vertical.study import is_vertical, parse_vertical
from fusion.alignment.study import AlignmentStudy
from fusion.alignment.study import parse_study as parse_alignment
from fusion.errors import EnvironmentUnfit, FusionError, InputInvalid, StudyInvalid
from fusion.grants.order import Code, check_order, open_order, refused, sign_order
from fusion.identity.members import AUTHORITY
from fusion.services.clock import SystemClock
from fusion.services.keys import Keyring
from fusion.wire.toml_lines import line_of

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from federated.orders import Ordered
    from federated.study import Study
    from federated.vertical.study import JointStudy, VerticalStudy
    from fusion.engine_ports import Work
    from fusion.grants.order import Order
    from fusion.identity.roster import Roster
    from fusion.ports import Event
    from fusion.services.homes import HubHome, NodeHome


class Engine:
    """:class:`fusion.engine_ports.TrainingEngine`."""

    def hub_up(self, hub: HubHome, *, stop: threading.Event, say: Callable[[str], None]) -> int:
        """Serve a federation until ``stop``."""
        from federated.runtime.supervisor import serve_hub  # noqa: PLC0415 - imports Flower

        serve_hub(hub, stop=stop, say=say)
        return 0

    def node_up(self, node: NodeHome, *, stop: threading.Event, say: Callable[[str], None]) -> int:
        """Serve the hub's requests until ``stop``."""
        from federated.runtime.node import serve_node  # noqa: PLC0415 - imports Flower

        serve_node(node, stop=stop, say=say)
        return 0

    def train(
        self,
        hub: HubHome,
        study_text: str,
        origin: str,
        order: bytes | None = None,
        work: Work = "train",
    ) -> str:
        """Check a study and its order against federation and keys; queue it at the running hub.

        Where the hub itself is the operator, it orders here. It is none of an alignment: what
        parties tell of that is for a member alone.

        Raises:
            OrderRefused: The study's operator did not order it, or ordered one run that was begun.
            StudyInvalid: The study is wrong, or names who was not admitted; names the line.
            KeyRefused: No fitting key was imported at the hub.
            EnvironmentUnfit: The hub is not up.
        """
        if work == "align":
            alignment = _alignment(study_text, origin)
            _check_parties(alignment, study_text, origin, hub.roster())
            ordered = _ordered(hub, alignment, order)
            _check_up(hub)
            folder = JobFolder.create(hub.runs, study_text, origin, ordered, kind="alignment")
            return folder.name
        if is_vertical(study_text):
            vertical = parse_vertical(study_text, origin)
            _check_parties(vertical, study_text, origin, hub.roster())
            ordered = _ordered(hub, vertical, order)
            _check_up(hub)
            folder = JobFolder.create(hub.runs, study_text, origin, ordered, kind="vertical")
            return folder.name
        study = parse_study(study_text, origin)
        _check_members(study, study_text, origin, hub.roster())
        ordered = _ordered(hub, study, order)
        Keyring(hub.paillier).fitting(study.key.bits, study.key.threshold, study.key.holders)
        _check_up(hub)
        return JobFolder.create(hub.runs, study_text, origin, ordered).name

    def order_terms(
        self, study_text: str, origin: str, work: Work = "train"
    ) -> tuple[str | None, str]:
        """Return who has to order a study, if it names an operator, and the study's digest.

        Raises:
            StudyInvalid: The study is wrong.
        """
        study: Ordered = (
            _alignment(study_text, origin) if work == "align" else _parsed(study_text, origin)
        )
        return study.operator, study.digest()

    def job_of(self, order: str) -> str:
        """Return the identifier of the job that the order of an id starts."""
        return job_of(order)

    def look(
        self, hub: HubHome, job: str, *, operator: str, start: int
    ) -> tuple[str, list[dict[str, Any]], int] | None:
        """Return a job's status, some of its events, and where those after them begin.

        Args:
            hub: The hub's folder.
            job: The job.
            operator: Who asks; there is nothing for anybody but who ordered it.
            start: Where to begin: 0, or what was returned last.
        """
        folder = JobFolder(hub.runs / Path(job).name)
        try:
            state = folder.state()
            if state.get("operator") != operator:
                return None
            events, following = folder.some_events(start)
        except InputInvalid:
            return None
        return str(state["status"]), events, following

    def ending(self, hub: HubHome, job: str, *, party: str) -> str | None:
        """Return how a job has ended, empty if it has not; None if a party takes no part in it.

        Args:
            hub: The hub's folder.
            job: The job.
            party: Who asks.
        """
        folder = JobFolder(hub.runs / Path(job).name)
        try:
            status = folder.state()["status"]
            first = next(iter(folder.some_events(0)[0]), {})
        except (InputInvalid, EnvironmentUnfit):
            return None
        if party not in first.get("organisations", ()):
            return None
        return "" if status in OPEN else str(status)

    def record(self, events: Sequence[Event]) -> dict[str, Any]:
        """Return the record of a run whose events came from elsewhere."""
        return record(list(events))

    def check(self, study_text: str, origin: str) -> None:
        """Check a study by itself.

        Raises:
            StudyInvalid: It is wrong; names the line.
        """
        _parsed(study_text, origin)

    def ping(self, hub: HubHome, count: int) -> str:
        """Queue ``count`` empty exchanges with every member; return the job's identifier.

        Raises:
            EnvironmentUnfit: The hub is not up.
        """
        _check_up(hub)
        return JobFolder.create_pings(hub.runs, count).name

    def follow(
        self,
        hub: HubHome,
        job: str,
        *,
        stop: threading.Event,
        on_quiet: Callable[[float], None] = lambda _: None,
    ) -> Iterator[dict[str, Any]]:
        """Yield a job's events, past and coming, up to its end; say for how long nothing came.

        Raises:
            InputInvalid: There is no such job.
        """
        return JobFolder(hub.runs / Path(job).name).follow(stop, on_quiet)

    def result(self, hub: HubHome, job: str) -> dict[str, Any]:
        """Return a job's record so far.

        Raises:
            InputInvalid: There is no such job.
        """
        folder = JobFolder(hub.runs / Path(job).name)
        folder.state()
        return record(folder.read_events())

    def stop(self, hub: HubHome, job: str) -> None:
        """Ask for a run to end before its next round.

        Raises:
            InputInvalid: There is no such job, or it has ended.
        """
        folder = JobFolder(hub.runs / Path(job).name)
        if folder.state()["status"] not in OPEN:
            msg = f"{job} has ended already."
            raise InputInvalid(msg)
        folder.stop_wanted.touch(mode=0o600)

    def jobs(self, hub: HubHome) -> list[dict[str, Any]]:
        """Return the state of every job of a hub."""
        return listed(hub.runs)

    def key_terms(self, study_text: str, origin: str) -> dict[str, Any]:
        """Return what a study asks of a key: ``bits``, ``threshold`` and ``holders``.

        Raises:
            StudyInvalid: The study is wrong.
        """
        key = parse_study(study_text, origin).key
        return {"bits": key.bits, "threshold": key.threshold, "holders": list(key.holders)}

    def simulate(
        self,
        study_text: str,
        origin: str,
        parties: Sequence[tuple[str, Path]],
        *,
        label: str | None,
        on_event: Callable[[Event], None],
    ) -> dict[str, Any]:
        """Run a study with all parties in this process; return its record, however it ended.

        Raises:
            InputInvalid: Study, parties or label can't be used; nothing was begun.
        """
        from federated.simulation import simulate  # noqa: PLC0415 - only here

        events: list[Event] = []

        def tell(event: Event) -> None:
            events.append(event)
            on_event(event)

        try:
            return simulate(study_text, origin, parties, label=label, on_event=tell)
        except FusionError:
            if not events:
                raise
            return record(events)

    def try_vertical(self, asked: Mapping[str, Any], tell: Callable[[str], None]) -> dict[str, Any]:
        """Run a vertical study with all parties in this process; return what it gave and took.

        Args:
            asked: The arguments of :func:`federated.vertical.simulation.simulate`, by name.
            tell: Told how far it is.

        Raises:
            InputInvalid: A choice, a value or a file that can't be used.
        """
        from federated.vertical.simulation import simulate  # noqa: PLC0415 - only here

        return simulate(**asked, tell=tell)

    def baselines(
        self, study_text: str, tables: Mapping[str, Path], rounds_log: Path
    ) -> dict[str, Any]:
        """Compare a run with each party alone and with pooled data, where all tables are at hand.

        Args:
            study_text: The study.
            tables: Each organisation's file.
            rounds_log: The job's ``journal.sqlite``.
        """
        from federated.comparison import compare  # noqa: PLC0415 - only here

        return compare(parse_study(study_text, "the study"), tables, rounds_log)

    def vertical_baselines(
        self, study_text: str, tables: Mapping[str, Path]
    ) -> dict[str, dict[str, float | None]]:
        """Return what each party's columns alone give, where all tables are at hand."""
        from federated.vertical.comparing import compare  # noqa: PLC0415 - only here

        return compare(parse_vertical(study_text, "the study"), tables)

    def demo_files(self) -> dict[str, Any]:
        """Return the packaged demonstration: studies, four tables, a policy of queries."""
        folder = Path(str(files("federated").joinpath("demo")))
        return {
            "study": folder / "study.toml",
            "study-mlp": folder / "study-mlp.toml",
            "study-vertical": folder / "study-vertical.toml",
            "policy": folder / "policy.yaml",
            "tables": {path.stem: path for path in sorted(folder.glob("*.parquet"))},
        }


def _parsed(text: str, origin: str) -> Study | VerticalStudy:
    """Read a study of whichever kind it says it is."""
    return parse_vertical(text, origin) if is_vertical(text) else parse_study(text, origin)


def _alignment(text: str, origin: str) -> AlignmentStudy:
    """Read what a study says of parties and their records, to align them alone."""
    study = parse_alignment(text, origin)
    if study.operator == AUTHORITY:
        where = f"{origin}:{line_of(text, ('study', 'operator'))}"
        raise StudyInvalid(
            f"{where}: the hub orders no alignment: it would be shown how many records are common.",
            hint="Name a member as the operator.",
        )
    return study


def _check_parties(study: JointStudy, text: str, origin: str, roster: Roster) -> None:
    """Refuse a study whose parties the federation does not have: all are needed."""
    known = {member.id for member in roster.active}
    parties = study.party if isinstance(study, AlignmentStudy) else study.parties
    for at, party in enumerate(parties):
        if party.organisation not in known:
            where = f"{origin}:{line_of(text, ('party', at, 'organisation'))}"
            msg = f"{where}: {party.organisation} was not admitted to {roster.federation}."
            raise StudyInvalid(msg, hint=f"Admitted are {', '.join(sorted(known)) or 'none'}.")


def _check_members(study: Study, text: str, origin: str, roster: Roster) -> None:
    """Refuse a study whose organisations the federation does not have."""
    known = {member.id for member in roster.active}
    missing = sorted(set(study.organisations) - known)
    if not missing:
        return
    there = len(study.organisations) - len(missing)
    path = ("study", "organisations" if there >= study.quorum else "quorum")
    where = f"{origin}:{line_of(text, path)}"
    msg = f"{where}: {', '.join(missing)} was not admitted to {roster.federation}."
    if there < study.quorum:
        msg += f" With {there} organisations the quorum of {study.quorum} can't be met."
    raise StudyInvalid(msg, hint=f"Admitted are {', '.join(sorted(known)) or 'none'}.")


def _ordered(hub: HubHome, study: Ordered, order: bytes | None) -> tuple[Order, bytes] | None:
    """Verify the order for a study as every data holder will; make it where the hub operates."""
    if study.operator is None:
        if order is not None:
            msg = "The study names no operator whose order this could be."
            raise StudyInvalid(msg, hint='Add `operator = "ID"` under [study].')
        return None
    roster, now = hub.roster(), SystemClock().now()
    if order is None and study.operator == AUTHORITY:
        _, order = sign_order(
            federation=roster.federation, operator=AUTHORITY, study=study.digest(),
            key=hub.authority_key, now=now,
        )  # fmt: skip
    if order is None:
        raise refused(Code.MISSING)
    found = open_order(order, roster, study.operator)
    check_order(found, study.digest(), now)
    return found, order


def _check_up(hub: HubHome) -> None:
    """Refuse when nobody would pick the job up."""
    try:
        pid = int(json.loads(hub.ready.read_text("utf-8"))["pid"])
        os.kill(pid, 0)
    except (OSError, ValueError, KeyError, TypeError):
        msg = "The hub is not up."
        raise EnvironmentUnfit(msg, hint=f"Run `fusion hub up {hub.path}`.") from None


ENGINE: Final = Engine()
logging.getLogger("banyan").addHandler(logging.NullHandler())
