"""What an owner declares about a dataset, as plain YAML; with the file's schema it is a descriptor.

What the data hold is no source: bounds, categories and whether a cell may be missing are the
owner's words, so that neither a descriptor nor a made-up sample gives away which values occur.
"""

from __future__ import annotations

import difflib
import json
import re
from typing import TYPE_CHECKING, Annotated, Final, Literal

from pydantic import Field

from fusion.catalogue.descriptor import (
    DATASET_ID,
    MAX_DESCRIPTOR_BYTES,
    SCHEMA,
    STANDARD_SCHEMES,
    Action,
    Column,
    DatasetId,
    Descriptor,
    Domain,
    Entity,
    Key,
    Label,
    Level,
    MockBudget,
    Name,
    Period,
    Scheme,
    Text,
    broken_rules,
    rows_bucket,
    schema_digest,
)
from fusion.errors import CatalogueInvalid
from fusion.wire.documents import Part
from fusion.wire.plain_yaml import Written

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from fusion.types import OrgId

LOCAL_SCHEMES: Final[dict[str, str]] = {"household": "household-number", "matter": "matter-code"}
"""Schemes of entities that have no national one, unless the declaration names another."""


class ColumnDeclaration(Part):
    """What is declared of one column; what is left out is as the dataset is."""

    level: Level | None = None
    nullable: bool = True
    title: Label | None = None
    unit: Text | None = None
    entity: Entity | None = None
    scheme: Scheme | None = None
    domain: Domain | None = None


class Declaration(Part):
    """The whole file."""

    schema_: Literal["fusion.declaration/1"] = Field(alias="schema")
    title: Label
    description: Label | None = None
    level: Level
    update_period: Period
    actions: Annotated[tuple[Action, ...], Field(max_length=5)] = ()
    mock: MockBudget = MockBudget()
    columns: dict[Name, ColumnDeclaration] = Field(default_factory=dict)


def parse_declaration(text: str, origin: str) -> Declaration:
    """Read a declaration that a person wrote.

    Raises:
        CatalogueInvalid: Not YAML as it is read here, or not a declaration; names the line.
    """
    return Written(origin, CatalogueInvalid).read(Declaration, text)


def draft(title: str, schema: Mapping[str, str]) -> str:
    """Return a declaration to start from: everything at the most careful, every column named."""
    words = json.dumps(title, ensure_ascii=False)
    lines = [
        "# What you declare about a dataset: docs/catalogue.md explains every line.",
        "schema: fusion.declaration/1",
        f"title: {{zh: {words}, en: {words}}}",
        "level: general-4        # general-1 ... general-4, important, core (GB/T 43697)",
        "update_period: irregular",
        "actions: []             # train, align, query, score, mock",
        "columns:",
        "  # entity: person, enterprise, household, place, matter",
        "  # domain: {kind: range, min: 0, max: 100, bins: 10}, or",
        "  #         {kind: categories, values: [a, b]}, or",
        "  #         {kind: dates, first: 2020-01-01, last: 2025-12-31}",
    ]
    for name, kind in schema.items():
        lines.append(f"  {json.dumps(name, ensure_ascii=False)}: {{}}   # {kind}")
    return "\n".join(lines) + "\n"


def describe(
    declaration: Declaration,
    *,
    dataset: DatasetId,
    owner: OrgId,
    schema: Mapping[str, str],
    entities: Mapping[str, Entity],
    rows: int,
    revision: int,
    issued: str,
) -> Descriptor:
    """Return the descriptor of a table.

    Args:
        declaration: What the owner says.
        dataset: Name of the dataset.
        owner: Whose it is.
        schema: Name to type of the columns that the file has.
        entities: Column to what it identifies, in addition to the declaration.
        rows: How many the file has; only the order of magnitude is kept.
        revision: One more than the last.
        issued: RFC 3339 in UTC, to the second.

    Raises:
        CatalogueInvalid: It names a column that is not there, or breaks a rule between fields.
    """
    _check_names(dataset, (*declaration.columns, *entities), schema)
    try:
        found = Descriptor(
            schema=SCHEMA,
            id=dataset,
            owner=owner,
            revision=revision,
            issued=issued,
            title=declaration.title,
            description=declaration.description,
            level=declaration.level,
            update_period=declaration.update_period,
            actions=declaration.actions,
            rows=rows_bucket(rows),
            columns=tuple(
                _column(name, kind, declaration, entities.get(name))
                for name, kind in schema.items()
            ),
            schema_digest=schema_digest(dict(schema)),
            mock=declaration.mock,
        )
    except ValueError as error:  # pydantic's
        raise CatalogueInvalid(_first(error)) from None
    for path, message in broken_rules(found):
        raise CatalogueInvalid(f"{_place(found, path)}: {message}")
    if len(found.canonical()) > MAX_DESCRIPTOR_BYTES:
        raise CatalogueInvalid(
            f"A descriptor has at most {MAX_DESCRIPTOR_BYTES} bytes.",
            hint="Declare fewer categories; a long list is better a range or left out.",
        )
    return found


def _check_names(dataset: str, declared: Iterable[str], schema: Mapping[str, str]) -> None:
    if not re.fullmatch(DATASET_ID, dataset):
        raise CatalogueInvalid(
            f"{dataset[:63]!r} is no name of a dataset.",
            hint="Use 1 to 63 lower-case letters, digits, dots, hyphens and underscores: firms.",
        )
    for name in declared:
        if name not in schema:
            near = difflib.get_close_matches(name, schema, n=1)
            raise CatalogueInvalid(
                f"The table has no column {name!r}.",
                hint=f"Did you mean {near[0]!r}?" if near else "fusion data draft lists them.",
            )


def _column(name: str, kind: str, declaration: Declaration, entity: Entity | None) -> Column:
    said = declaration.columns.get(name, ColumnDeclaration())
    means = entity or said.entity
    if means is None and said.scheme is not None:
        raise CatalogueInvalid(f"Column {name!r} has a scheme, but identifies nothing.")
    if entity is not None and said.entity not in {None, entity}:
        raise CatalogueInvalid(f"Column {name!r} identifies {entity} or {said.entity}, not both.")
    schemes = {**STANDARD_SCHEMES, **LOCAL_SCHEMES}
    return Column.model_validate(
        {
            "name": name,
            "type": kind,
            "level": said.level or declaration.level,
            "nullable": said.nullable,
            "title": said.title,
            "unit": said.unit,
            "key": None
            if means is None
            else Key(entity=means, scheme=said.scheme or schemes[means]),
            "domain": said.domain,
        }
    )


def _place(found: Descriptor, path: tuple[str | int, ...]) -> str:
    """Return a path with a column's name in place of its number."""
    parts = list(map(str, path))
    if path[0] == "columns" and len(path) > 1 and isinstance(path[1], int):
        parts[1] = found.columns[path[1]].name
    return ".".join(parts)


def _first(error: ValueError) -> str:
    errors = getattr(error, "errors", None)
    if errors is None:
        return "The descriptor can't be made."
    first = errors(include_url=False, include_input=False)[0]
    where = ".".join(map(str, first["loc"]))
    return f"{where}: {first['msg'].removeprefix('Value error, ')}."
