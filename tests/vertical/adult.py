"""UCI Adult as three organisations that know different things about the same people.

Read from the tables of the demo, which the package ships.
"""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING, Any, Final

from fusion.connectors.files import read_table
from fusion.services import engines

if TYPE_CHECKING:
    from pathlib import Path

PARTS: Final = {
    "registry": ("age", "sex", "race", "marital-status", "relationship", "native-country"),
    "tax": ("capital-gain", "capital-loss", "education-num"),
    "employer": ("occupation", "hours-per-week", "education"),
}

WIDE_P: Final = "\uff30"
"""A full-width P, as some input methods write it."""


def write(folder: Path, organisations: tuple[str, ...]) -> dict[str, Path]:
    """Write a CSV file a party; each has its own order of rows, and some rows the others lack."""
    tables = engines.training().demo_files()["tables"]
    names = [name for part in PARTS.values() for name in part]
    parts = [read_table(tables[name], [*names, "income"]) for name in organisations]
    people: list[dict[str, Any]] = []
    for part in parts:
        people.extend(
            {name: part[name][row] for name in [*names, "income"]} for row in range(part.rows)
        )
    found = {}
    for number, (party, columns) in enumerate(PARTS.items()):
        found[party] = folder / f"{party}.csv"
        label = ["over50k"] if party == "registry" else []
        with found[party].open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["person", *columns, *label])
            order = range(len(people)) if number != 1 else range(len(people) - 1, -1, -1)
            for i in order:
                if i % 100 == number:
                    continue  # not everybody is known everywhere
                person = people[i]
                cells = ["" if person[c] is None else person[c] for c in columns]
                extra = [int(str(person["income"]).startswith(">"))] if label else []
                # One writes identifiers with a blank around, another in full width.
                identifier = f" P{i:06d}" if number == 1 else f"{WIDE_P}{i:06d}"
                writer.writerow([identifier, *cells, *extra])
    return found
