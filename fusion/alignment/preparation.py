"""A column of identifiers made ready: the keys that are aligned, and a report that stays here.

What is rejected never leaves: neither the row nor how many there were of it goes to anybody else.
A key that is on several rows would show that to the other party, so what is done about it is said
beforehand: ``refuse``, ``first`` (the first row stands for it) or ``unique-only`` (such keys are
left out).

Of identifiers that a spreadsheet cut at 15 digits some have a check character that fits by chance,
and would be aligned as other people's. Where a column has as many that were surely cut as valid
ones of that form, none of the form is taken.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from fusion.alignment.identifiers import Rejected, looks_cut, normalise
from fusion.alignment.rules import Decided, refused

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from fusion.alignment.identifiers import Kind

Duplicates = Literal["refuse", "first", "unique-only"]


@dataclass(frozen=True, slots=True)
class Report:
    """What was found in a column; for its owner alone.

    Attributes:
        kind: Of the identifiers.
        rule: What is done about a key on several rows.
        rows: Cells of the column.
        missing: Empty cells.
        invalid: Rejected cells, by reason.
        rewritten: Cells whose key is not their text: blanks, full-width forms, 15 digits.
        repeated: Keys that are on several rows.
        repetitions: Rows beyond the first of such keys.
        keys: Different keys that are aligned.
    """

    kind: str
    rule: str
    rows: int
    missing: int
    invalid: Mapping[str, int]
    rewritten: int
    repeated: int
    repetitions: int
    keys: int

    @property
    def valid(self) -> int:
        """Cells that hold an identifier of the kind."""
        return self.rows - self.missing - sum(self.invalid.values())

    def sentence(self) -> str:
        """Return what was found, in words for the column's owner."""
        invalid = [f"{count} invalid {why}" for why, count in sorted(self.invalid.items())]
        counts = ", ".join([f"{self.missing} missing", *invalid, f"{self.repeated} repeated"])
        return f"{self.keys} keys of {self.rows} rows as {self.kind} ({counts})"

    def document(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            "kind": self.kind,
            "duplicates": self.rule,
            "rows": self.rows,
            "missing": self.missing,
            "invalid": dict(sorted(self.invalid.items())),
            "valid": self.valid,
            "rewritten": self.rewritten,
            "repeated_keys": self.repeated,
            "repeated_rows": self.repetitions,
            "keys": self.keys,
        }


@dataclass(frozen=True, slots=True)
class Prepared:
    """Keys that are aligned.

    Attributes:
        keys: In the order of their first rows, each once.
        rows: The row of each key in the table it came from.
        report: What was found on the way.
    """

    keys: list[str]
    rows: list[int]
    report: Report

    def in_order(self) -> Prepared:
        """Return it with keys ascending: places among them that no order of the rows changes."""
        pairs = sorted(zip(self.keys, self.rows, strict=True))
        return Prepared([key for key, _ in pairs], [row for _, row in pairs], self.report)


@dataclass(slots=True)
class _Found:
    first: dict[str, int] = field(default_factory=dict)
    times: Counter[str] = field(default_factory=Counter)
    invalid: Counter[str] = field(default_factory=Counter)
    rows: int = 0
    missing: int = 0
    rewritten: int = 0
    cut: int = 0
    doubtful: int = 0


def prepare(
    kind: Kind, cells: Collection[object], *, duplicates: Duplicates, fold: bool = False
) -> Prepared:
    """Return the keys of a column.

    Args:
        kind: Of the identifiers.
        cells: The column.
        duplicates: What to do about a key on several rows.
        fold: Of ``text``: whether upper and lower case are the same.

    Raises:
        AlignmentRefused: A-10: a key is on several rows, and the rule is ``refuse``.
    """
    prepared = examine(kind, cells, duplicates=duplicates, fold=fold)
    if duplicates == "refuse" and prepared.report.repeated:
        repeated = refused(Decided.DUPLICATES)
        repeated.add_note(prepared.report.sentence())  # for the column's owner alone
        raise repeated
    return prepared


def examine(
    kind: Kind, cells: Collection[object], *, duplicates: Duplicates, fold: bool = False
) -> Prepared:
    """Return what :func:`prepare` would, and the report even where that refuses."""
    found = _read(kind, cells, fold=fold)
    if 0 < found.doubtful <= found.cut:
        found = _read(kind, cells, fold=fold, doubt=True)
    repeated = {key for key, times in found.times.items() if times > 1}
    kept = [key for key in found.first if duplicates != "unique-only" or key not in repeated]
    report = Report(
        kind=kind,
        rule=duplicates,
        rows=found.rows,
        missing=found.missing,
        invalid=found.invalid,
        rewritten=found.rewritten,
        repeated=len(repeated),
        repetitions=sum(found.times[key] - 1 for key in repeated),
        keys=len(kept),
    )
    return Prepared(kept, [found.first[key] for key in kept], report)


def _read(kind: Kind, cells: Collection[object], *, fold: bool, doubt: bool = False) -> _Found:
    """Read a column.

    Args:
        kind: Of the identifiers.
        cells: The column.
        fold: Of ``text``: whether upper and lower case are the same.
        doubt: Whether what may have been cut by a spreadsheet is rejected though it is valid.
    """
    found = _Found()
    for row, cell in enumerate(cells):
        _take(found, row, kind, cell, fold=fold, doubt=doubt)
    return found


def _look_at_end(found: _Found, kind: Kind, cell: object, key: str | None, *, doubt: bool) -> None:
    """Count a valid identifier of the form that a spreadsheet leaves, or reject it.

    Raises:
        Rejected: ``digits-lost``.
    """
    if key is None or not key.endswith("000") or not looks_cut(kind, cell):
        return
    found.doubtful += 1
    if doubt:
        raise Rejected("digits-lost")


def _take(found: _Found, row: int, kind: Kind, cell: object, *, fold: bool, doubt: bool) -> None:
    found.rows += 1
    try:
        key = normalise(kind, cell, fold=fold)
        _look_at_end(found, kind, cell, key, doubt=doubt)
    except Rejected as error:
        found.invalid[error.reason] += 1
        found.cut += error.reason == "digits-lost" and looks_cut(kind, cell)
        return
    if key is None:
        found.missing += 1
        return
    found.rewritten += key != cell
    found.times[key] += 1
    found.first.setdefault(key, row)
