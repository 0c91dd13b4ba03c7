"""A made-up sample of a dataset: charged to its owner's budget, made, and only then written.

The budget is the owner's own, one for a dataset's name for good: withdrawing and describing it
anew gives nothing back. It is charged before the table is read, made final before a file is
written, and stays charged if anything goes wrong in between.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any, Final

from fusion.catalogue import croissant
from fusion.catalogue.cells import text_columns
from fusion.catalogue.descriptor import schema_digest
from fusion.catalogue.mock import MAX_SAMPLE_ROWS, declared, make_sample, share_of
from fusion.connectors.files import read_table
from fusion.connectors.samples import encode
from fusion.connectors.schemas import read_schema
from fusion.crypto import rng
from fusion.errors import CatalogueInvalid, GrantRefused, InputInvalid, Refused
from fusion.grants.budget import Amount, Cap
from fusion.services.catalogue import folder_of
from fusion.services.clock import SystemClock, timestamp
from fusion.services.files import write_atomic
from fusion.stores.budgets import SqliteBudgets

if TYPE_CHECKING:
    from pathlib import Path

    from fusion.catalogue.descriptor import Descriptor
    from fusion.ports import Clock
    from fusion.services.homes import NodeHome

MICRO: Final = 1_000_000
_ACTION: Final = "mock"


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """A sample in its files.

    Attributes:
        sample: The rows.
        description: Croissant, beside it.
        sentence: What it is and what it cost.
        left: What the owner's budget has left.
    """

    sample: Path
    description: Path
    sentence: str
    left: Amount


def epsilon_of(text: str) -> int:
    """Return an epsilon as a user writes it, in millionths.

    Raises:
        InputInvalid: It is no positive decimal number, or finer than a millionth.
    """
    try:
        micro = Decimal(text) * MICRO
    except InvalidOperation:
        micro = Decimal(0)
    if not micro.is_finite() or micro <= 0 or micro != micro.to_integral_value():
        raise InputInvalid(
            f"{text[:40]!r} is no epsilon.",
            hint="Write a positive number with at most six decimals: 0.5.",
        )
    return int(micro)


def budget_of(node: NodeHome, descriptor: Descriptor) -> tuple[Cap, Amount]:
    """Return the owner's budget for samples of a dataset: its cap, and what was used."""
    name = _budget(descriptor)
    cap = Cap(**descriptor.mock.model_dump())
    if not node.budgets.exists():
        return cap, Amount()
    budgets = SqliteBudgets(node.budgets)
    return budgets.cap(name, _ACTION) or cap, budgets.used(name, _ACTION)


def make(
    node: NodeHome,
    dataset: str,
    *,
    epsilon_micro: int,
    rows: int,
    out: Path,
    clock: Clock | None = None,
) -> Written:
    """Make up a sample of a dataset of this node and write it, with its description.

    Args:
        node: The owner's node.
        dataset: Which.
        epsilon_micro: What it may cost in all, in millionths.
        rows: How many rows to make up.
        out: Folder for the two files; there has to be one.
        clock: Time.

    Raises:
        InputInvalid: There is no such dataset or folder, or a number is out of range.
        CatalogueInvalid: A column has no domain, or the table is another than was described.
        Refused: No samples are made up of it.
        GrantRefused: The owner's budget does not reach (G-31 to G-33).
    """
    descriptor = folder_of(node).get(f"{node.config.id}/{dataset}").descriptor
    # Everything that can be refused is refused before anything is charged.
    share_of(declared(descriptor), epsilon_micro)
    if not 1 <= rows <= MAX_SAMPLE_ROWS:
        raise InputInvalid(f"A sample has 1 to {MAX_SAMPLE_ROWS} rows.")
    file = _file_of(node, descriptor)
    _check_folder(out)
    budgets = SqliteBudgets(node.budgets)
    key = f"mock/{rng.token(16).hex()}"
    asked = Amount(runs=1, epsilon_micro=epsilon_micro, rows=rows)
    _reserve(budgets, key, descriptor, asked)
    columns = [column.name for column in descriptor.columns]
    table = read_table(file, columns, text=text_columns(descriptor.columns))
    sample = make_sample(descriptor, table, table.rows, rows=rows, epsilon_micro=epsilon_micro)
    budgets.commit(key)
    data = encode(descriptor, sample, file.suffix)
    name = f"{dataset}-mock-epsilon-{croissant.decimal(epsilon_micro)}-{key[-8:]}"
    written, described = out / f"{name}{file.suffix}", out / f"{name}.croissant.json"
    description = croissant.describe(
        descriptor,
        sample,
        file=written.name,
        sha256=hashlib.sha256(data).hexdigest(),
        size=len(data),
        made=timestamp((clock or SystemClock()).now())[:10],
    )
    write_atomic(written, data, 0o644)
    write_atomic(described, _pretty(description), 0o644)
    cap, used = budget_of(node, descriptor)
    return Written(
        sample=written,
        description=described,
        sentence=croissant.sentence(descriptor, sample),
        left=cap.left(used),
    )


def _file_of(node: NodeHome, descriptor: Descriptor) -> Path:
    file = node.config.data.get(descriptor.id)
    if file is None:
        raise InputInvalid(
            f"{descriptor.id} is described, but has no file in node.toml.",
            hint="Describe it again with fusion data add.",
        )
    if schema_digest(read_schema(file)) != descriptor.schema_digest:
        raise CatalogueInvalid(
            f"The columns of {descriptor.id} are no longer those of its description.",
            hint="Describe it again with fusion data add.",
        )
    return file


def _check_folder(out: Path) -> None:
    if not out.is_dir():
        raise InputInvalid(f"There is no folder {out}.", hint="Make it, or name another one.")


def _reserve(budgets: SqliteBudgets, key: str, descriptor: Descriptor, asked: Amount) -> None:
    name = _budget(descriptor)
    declared_cap = Cap(**descriptor.mock.model_dump())
    cap = budgets.cap(name, _ACTION)
    if cap is not None and cap != declared_cap:
        raise Refused(
            f"The budget for samples of {descriptor.id} was {cap.epsilon_micro} millionths of "
            f"epsilon, {cap.runs} runs and {cap.rows} rows when the first was made, and stays so.",
            hint="Declare these under `mock`, and describe the dataset again.",
        )
    try:
        budgets.reserve(key, name, _ACTION, asked, declared_cap)
    except GrantRefused as error:
        raise GrantRefused(
            error.message,
            code=error.code,
            hint="It is the budget under `mock` in the declaration; what was spent stays spent.",
        ) from None


def _budget(descriptor: Descriptor) -> str:
    """Return under which name the owner's samples are charged; no grant's id looks like it."""
    return f"owner:{descriptor.id}"


def _pretty(document: dict[str, Any]) -> bytes:
    return (json.dumps(document, ensure_ascii=False, indent=2) + "\n").encode()
