"""What a party keeps of a run while it lasts, sealed: rows, states after steps, the finished part.

A *mark* names a state: the attempt in which it was made and how many steps were finished. All
parties go on from one mark; step 0 is that rows are aligned. Of every attempt the newest few are
kept: the others are never more than one step away.
"""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from fusion.alignment import resuming
from fusion.errors import DataInvalid, EnvironmentUnfit, Refused, SealBroken
from fusion.services.files import make_folder, read_file, write_atomic

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime
    from pathlib import Path

    from fusion.services.homes import NodeHome

_KEPT: Final = 3
JOBS: Final = "jobs"
LEFT_SECONDS: Final = 30 * 86_400
"""After so long without a word written a job is taken for left."""
_CONTEXT: Final = "banyan vertical job 1"
_STATE: Final = re.compile(r"state-(\d{1,5})-(\d{1,6})")
ROWS, PART, TABLE, COUNTS, BOUND = "rows", "part", "table", "counts", "bound"
ALIGNED, TRIED, COUNTED, JUDGED = "aligned", "tried", "counted", "judged"
_OF_THE_JOB: Final = (TABLE, BOUND, ALIGNED, TRIED, COUNTED, JUDGED)
"""What holds for every attempt."""
MOST: Final = {TRIED: 24, COUNTED: 6, JUDGED: 3}
"""How often a job is tried in all, how often events of bins are counted, and how often scores of a
finished linear model are told: each time a peer that breaks the protocol may bring other gradients
or bins, or have changed the weights."""


class Mark(NamedTuple):
    """Where a run goes on: order is by step, then by attempt."""

    step: int
    attempt: int


class Keeping(Protocol):
    """What a party keeps of one job."""

    def names(self) -> list[str]:
        """Return the names of what is kept."""
        ...

    def put(self, name: str, data: bytes) -> None:
        """Keep bytes under a name, durably, in place of what was there."""
        ...

    def get(self, name: str) -> bytes | None:
        """Return what is kept under a name, if anything is."""
        ...

    def drop(self, name: str) -> None:
        """Keep it no longer."""
        ...

    def clear(self) -> None:
        """Keep nothing."""
        ...


class MemoryKeeping:
    """:class:`Keeping` in memory: for simulations and tests."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self._kept: dict[str, bytes] = {}

    def names(self) -> list[str]:
        """See :class:`Keeping`."""
        return list(self._kept)

    def put(self, name: str, data: bytes) -> None:
        """See :class:`Keeping`."""
        self._kept[name] = data

    def get(self, name: str) -> bytes | None:
        """See :class:`Keeping`."""
        return self._kept.get(name)

    def drop(self, name: str) -> None:
        """See :class:`Keeping`."""
        self._kept.pop(name, None)

    def clear(self) -> None:
        """See :class:`Keeping`."""
        self._kept.clear()


class SealedKeeping:
    """:class:`Keeping` in a node's folder, ``jobs/JOB/``, sealed to the node's own key."""

    def __init__(self, node: NodeHome, job: str) -> None:
        """Take the node; the folder is made when something is kept."""
        self._node, self._job = node, job
        self._folder: Path = node.path / JOBS / job

    def names(self) -> list[str]:
        """See :class:`Keeping`."""
        return [file.stem for file in self._folder.glob("*.sealed")]

    def put(self, name: str, data: bytes) -> None:
        """See :class:`Keeping`."""
        make_folder(self._folder.parent)
        make_folder(self._folder)
        sealed = self._node.sealing_key.public.seal(data, self._context(name))
        write_atomic(self._file(name), sealed)

    def get(self, name: str) -> bytes | None:
        """See :class:`Keeping`; what does not open is as good as not there.

        Raises:
            EnvironmentUnfit: The file can't be read.
        """
        if not self._file(name).exists():
            return None
        try:
            return self._node.open_sealed(read_file(self._file(name)), self._context(name))
        except SealBroken:
            return None

    def drop(self, name: str) -> None:
        """See :class:`Keeping`."""
        self._remove(lambda: self._file(name).unlink(missing_ok=True))

    def clear(self) -> None:
        """See :class:`Keeping`.

        Raises:
            EnvironmentUnfit: The folder can't be removed.
        """
        self._remove(lambda: shutil.rmtree(self._folder))

    def _remove(self, act: Callable[[], None]) -> None:
        try:
            act()
        except FileNotFoundError:
            pass
        except OSError as error:
            raise EnvironmentUnfit(
                f"What is in {self._folder} can't be removed: {error.strerror}."
            ) from error

    def _file(self, name: str) -> Path:
        return self._folder / f"{name}.sealed"

    def _context(self, name: str) -> bytes:
        return f"{_CONTEXT}, {self._job}, {name}".encode()


def kept_jobs(node: NodeHome) -> set[str]:
    """Return the jobs of which something is kept."""
    return {folder.name for folder in (node.path / JOBS).glob("*")}


def sweep(node: NodeHome, now: datetime, end: Callable[[str], None]) -> list[str]:
    """Remove what is kept of jobs that nobody has gone on with for long; return their names.

    The hub says when a job has ended; one that never does would leave secrets here for good.

    Args:
        node: The node.
        now: The time.
        end: Ends a job for good. Told each before anything is removed: without what was counted
            and bound it could be run anew, under one charge.

    Returns:
        The jobs of which nothing is left; what can't be removed is tried again the next time.
    """
    gone = []
    for folder in (node.path / JOBS).glob("*"):
        try:
            newest = max(file.stat().st_mtime for file in (folder, *folder.glob("*.sealed")))
        except FileNotFoundError:  # somebody is at it
            continue
        if newest < now.timestamp() - LEFT_SECONDS:
            end(folder.name)
            shutil.rmtree(folder, ignore_errors=True)
            if not folder.exists():
                gone.append(folder.name)
    return gone


def of_the_job(keeping: Keeping, name: str) -> bytes | None:
    """Return what holds for every attempt, if it is kept.

    Args:
        keeping: Of the job.
        name: Such as :data:`TRIED`.

    Raises:
        DataInvalid: It is kept, and does not open: it is not counted or bound anew over that.
    """
    found = keeping.get(name)
    if found is None and name in keeping.names():
        raise DataInvalid(
            f"What was kept of the run ({name}) does not open.", hint="Start a new run."
        )
    return found


@dataclass(frozen=True, slots=True)
class States:
    """The states of one job.

    Attributes:
        keeping: Where they are.
    """

    keeping: Keeping

    def marks(self) -> list[Mark]:
        """Return from where this party could go on, ascending; without rows from nowhere."""
        names = self.keeping.names()
        if ROWS not in names:
            return []
        found = (_STATE.fullmatch(name) for name in names)
        return sorted(Mark(int(each[2]), int(each[1])) for each in found if each)

    def hold_to(self, table: str) -> None:
        """Have all attempts of the job be over one table: one charge is for no other.

        Args:
            table: Its digest.

        Raises:
            DataInvalid: The job was begun over another, or what was kept of it does not open.
        """
        kept = of_the_job(self.keeping, TABLE)
        if kept is None:
            self.keeping.put(TABLE, table.encode())
        elif kept != table.encode():
            raise DataInvalid(
                "The table has changed since the run was begun.", hint="Start a new run."
            )

    def count(self, what: str) -> None:
        """Count an attempt, or a step of it, before anything of it leaves.

        Args:
            what: :data:`TRIED`, :data:`COUNTED` or :data:`JUDGED`.

        Raises:
            Refused: There were as many as one charge is for.
            DataInvalid: What was kept of it does not open, or is no number.
        """
        found = of_the_job(self.keeping, what)
        kept = b"0" if found is None else found
        if not re.fullmatch(rb"\d{1,9}", kept):
            raise DataInvalid(
                f"How often the run was {what} is not well formed.", hint="Start a new run."
            )
        times = int(kept)
        if times >= MOST[what]:
            raise Refused(f"The run was {what} {MOST[what]} times.", hint="Start a new run.")
        self.keeping.put(what, str(times + 1).encode())

    def check_alignment(self) -> None:
        """Return if the job's records may be aligned, or go on to be: one charge is for one set.

        Raises:
            Refused: They were, and all parties went on from that: a peer could bring another set.
        """
        if ALIGNED in self.keeping.names():
            raise Refused("The records of the run were aligned before.", hint="Start a new run.")

    def forget_alignment(self) -> None:
        """Keep nothing of how records were aligned: all parties have their rows."""
        self.keeping.put(ALIGNED, b"")
        resuming.forget(self.keeping)

    def aligned(self, attempt: int, rows: bytes) -> None:
        """Keep rows, and with them that nothing was trained yet; all trained before is void.

        What the alignment goes on from stays: another party may not have its rows yet.
        """
        for name in self.keeping.names():
            if name not in _OF_THE_JOB and not resuming.is_of_alignment(name):
                self.keeping.drop(name)
        self.keeping.put(ROWS, rows)
        self.keeping.put(_name(Mark(0, attempt)), b"")

    def rows(self) -> bytes | None:
        """Return the rows that were kept."""
        return self.keeping.get(ROWS)

    def keep(self, mark: Mark, state: bytes) -> None:
        """Keep the state after a step; the oldest of many are dropped, but never the first."""
        self.keeping.put(_name(mark), state)
        for old in [each for each in self.marks() if each.step][:-_KEPT]:
            self.keeping.drop(_name(old))

    def keep_leaves(self, tree: int, data: bytes) -> None:
        """Keep where rows are in a tree; the same tree has the same leaves in every attempt."""
        self.keeping.put(f"leaves-{tree}", data)

    def leaves(self, trees: int) -> list[bytes]:
        """Return where rows are in the first trees.

        Raises:
            DataInvalid: One is not there: what a model tells could not be measured by the others.
        """
        found = [self.keeping.get(f"leaves-{tree}") for tree in range(trees)]
        whole = [each for each in found if each is not None]
        if len(whole) < trees:
            raise DataInvalid("What was kept of a tree is gone.", hint="Start a new run.")
        return whole

    def state(self, mark: Mark) -> bytes | None:
        """Return the state at a mark."""
        return self.keeping.get(_name(mark))

    def back_to(self, mark: Mark) -> None:
        """Forget what came after a mark, and a part that was finished: it goes on from there."""
        self.keeping.drop(PART)
        for each in self.marks():
            if each.step > mark.step or (each.step == mark.step and each != mark):
                self.keeping.drop(_name(each))


def _name(mark: Mark) -> str:
    return f"state-{mark.attempt}-{mark.step}"
