"""How questions, answers and refusals are shown, by the verbs of ``fusion query`` and its shell."""

from __future__ import annotations

import csv
import sys
from typing import TYPE_CHECKING, Any, Final, Literal

from rich.cells import cell_len

from fusion.cli import output
from fusion.services.completing import about_column
from fusion.services.statements import part_at

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from fusion.services.query_description import Described
    from fusion.services.query_messages import Accuracy, Left, Table

Form = Literal["table", "csv", "json"]
_SUMS: Final = {
    "count": "count", "entities": "count", "sum": "sum", "squares": "sum of squares",
}  # fmt: skip


def show_refused(statement: str, start: int | None) -> None:
    """Show a statement with its lines numbered, and a mark under what a refusal is about.

    Args:
        statement: As it was asked.
        start: The character that the refusal is about; None for the whole.
    """
    passed = 0
    for number, line in enumerate(statement.splitlines(keepends=True), 1):
        output.note(f"{number:>4} | {line.rstrip()}")
        if start is not None and passed <= start < passed + len(line):
            before = output.clean(line[: start - passed])
            part = output.clean(statement[start : start + part_at(statement, start)])
            # A Chinese character is as wide as two others.
            output.note(f"     | {' ' * cell_len(before)}{'^' * max(1, cell_len(part))}")
        passed += len(line)


def show_table(table: Table, form: Form) -> None:
    """Print a released table to stdout, its notes to stderr."""
    if form == "json":
        output.document("fusion.query-result/1", table.model_dump())
    elif form == "csv":
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow([cell(each) for each in table.columns])
        writer.writerows([[cell(each) for each in row] for row in table.rows])
        sys.stdout.flush()
    else:
        rows = [["" if each is None else each for each in row] for row in table.rows]
        output.table(table.columns, rows)
    for each in table.notes:
        output.note(f"{each.message} {each.hint}".strip())
    for accuracy in table.noise:
        output.note(_accurate(accuracy))


def _accurate(of: Accuracy) -> str:
    what = f"{of.column}: " if of.itself else f"{of.column}: made of a {_SUMS[of.of]} with "
    return f"{what}noise with a standard deviation of {of.sd:.6g}"


def cell(value: Any) -> Any:  # noqa: ANN401 - a cell
    """Return a cell of a CSV file that no spreadsheet computes."""
    if not isinstance(value, str):
        return value
    # Shown at a terminal, it may not move the cursor either.
    value = output.clean(value)
    # A spreadsheet takes such a text for a formula.
    return f"'{value}" if value.lstrip()[:1] in {"=", "+", "-", "@"} else value


def show_explained(table: Table, described: Described) -> None:
    """Say on stderr by which policy and rules an answer came about."""
    output.note(f"query {table.job}, answered by policy {table.policy[:16]}")
    if table.rho_micro:
        output.note(
            f"released before, for {table.rho_micro} millionths of rho; cost none this time"
            if table.again
            else f"noise was added to every sum; spent {table.rho_micro} millionths of rho"
        )
        return
    output.note(
        f"cells of fewer people than {described.k} are left out, others are rounded, counts to "
        f"multiples of {described.base}"
    )


def show_left(left: Sequence[Left], datasets: Sequence[str] = ()) -> None:
    """Print what each grant has left.

    Args:
        left: Of each grant.
        datasets: Which dataset each is about, where that was not asked for.
    """
    rows = [
        [
            *(each.grant[:16], each.runs, each.rows),
            *("" if count is None else count for count in (each.late, each.refusals)),
            each.not_after,
        ]
        for each in left
    ]
    heads = ["grant", "queries", "rows", "late answers", "refusals", "until"]
    if datasets:
        heads.append("dataset")
        rows = [[*row, dataset] for row, dataset in zip(rows, datasets, strict=True)]
    output.table(heads, rows)
    for each in left:
        if (own := each.privacy) is not None:
            output.note(
                f"grant {each.grant[:16]}: {own.rho_micro} millionths of rho left, an epsilon of "
                f"{own.epsilon_micro / 1e6:g} at a delta of 1e-{own.delta_exponent}; a query "
                f"spends {own.usual_rho_micro} unless it says. The dataset has "
                f"{own.dataset_rho_micro} left, an epsilon of {own.dataset_epsilon_micro / 1e6:g}"
            )


def show_grant(left: Left) -> None:
    """Say on stderr what a grant has left after a query."""
    text = f"grant {left.grant[:16]}: {left.runs} queries and {left.rows} rows left"
    if (own := left.privacy) is not None:
        whole = own.dataset_rho_micro
        text += f", {own.rho_micro} millionths of rho, of the dataset {whole}"
    output.note(text)


def show_interrupted(before: Sequence[Left] | None, after: Sequence[Left] | None) -> None:
    """Say that a query was given up, and what it cost as far as the owner's node says.

    Args:
        before: What each grant had left before it; None if that is not known.
        after: What each has left now.
    """
    output.note("cancelled: the owner's node was told, and the query ends there")
    if before is None or after is None:
        output.note("-> what was permitted is charged; fusion query budget shows what is left")
        return
    runs, rows = (
        sum(getattr(each, name) for each in before) - sum(getattr(each, name) for each in after)
        for name in ("runs", "rows")
    )
    output.note(f"charged since it was asked: {runs} queries, {rows} rows")


def show_history(said: Sequence[Mapping[str, Any]]) -> None:
    """Print what was asked, and what became of it."""
    rows = [
        [
            each["at"],
            each["dataset"],
            each["outcome"],
            each["code"],
            numbered(each),
            each["statement"],
        ]
        for each in said
    ]
    output.table(["at", "dataset", "outcome", "code", "no.", "statement"], rows)


def numbered(said: Mapping[str, Any]) -> str:
    """Return the numbers by which later notes name an answer: ``7``, or ``7-19``."""
    numbers = said.get("numbers") or []
    if not numbers:
        return ""
    first, last = min(numbers), max(numbers)
    return str(first) if first == last else f"{first}-{last}"


def show_tables(described: Described) -> None:
    """Print which tables can be asked about."""
    rows = [
        [table.name, table.entity or "everybody may know it", len(table.columns)]
        for table in described.tables
    ]
    output.table(["table", "about", "columns"], rows)


def show_columns(described: Described, only: str | None = None) -> None:
    """Print the columns of one table, or of all.

    Args:
        described: What may be asked about.
        only: Name of the table; None for all.
    """
    rows = []
    for table in described.tables:
        for column in table.columns if only in {None, table.name} else ():
            name = column.name if only is not None else f"{table.name}.{column.name}"
            more = f"by {column.finest} at the finest" if column.finest else ""
            rows.append([name, about_column(column), ", ".join(column.values) or more])
    output.table(["column", "class, type, bounds", "values"], rows)
