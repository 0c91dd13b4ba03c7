"""A grant that is proposed, held to what is known here before anybody signs it.

At an owner's own node its dataset, the dataset's columns and schema are known: a grant that names
others could be signed by all, and would then permit nothing. Elsewhere only the time is known.
"""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Final

from fusion.catalogue.descriptor import schema_digest
from fusion.errors import EnvironmentUnfit, InputInvalid
from fusion.grants.document import moment_of
from fusion.grants.reading import parse_grant
from fusion.services import engines, grants
from fusion.services.clock import SystemClock
from fusion.services.homes import NodeHome

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fusion.grants.document import Grant
    from fusion.ports import Clock
    from fusion.services.grants import Home, Kept
    from fusion.wire.plain_yaml import KeyPath

    Mistake = tuple[KeyPath, str, str]

_LISTED: Final = 20


def propose(
    home: Home, text: str, origin: str, *, warn: Callable[[str], None], clock: Clock | None = None
) -> Kept:
    """Look at a grant that a person wrote, then sign it as the first one, and keep it.

    Args:
        home: Who proposes it.
        text: YAML.
        origin: The file's name, for messages.
        warn: Told what is probably wrong, where it can't be known here.
        clock: Time.

    Raises:
        GrantInvalid: It is wrong, or at an owner's node: its dataset, columns or schema are others
            than this node has, or it is over; names the line.
        DataInvalid: The dataset's file can't be read.
        Refused: The dataset is described as core data.
        SignatureInvalid: This organisation is not one of its signers.
        UnknownOrganisation: It names somebody who is not in the roster.
    """
    now = (clock or SystemClock()).now()

    def mistakes(grant: Grant) -> Iterator[Mistake]:
        over = moment_of(grant.not_after) <= now
        if not isinstance(home, NodeHome) or home.config.id not in grant.assigners:
            if over:
                warn(f"{origin}: not_after is {grant.not_after}: such a grant permits nothing.")
            return
        yield from _unlike(home, grant)
        if over:
            message = f"`not_after` is {grant.not_after}, which is past: it would permit nothing."
            yield ("not_after",), message, "Write a time to come."

    parse_grant(text, origin, mistakes)
    return grants.propose(home, text, origin)


def _unlike(node: NodeHome, grant: Grant) -> Iterator[Mistake]:
    """Yield how a grant's dataset differs from the one that its owner has."""
    dataset = grant.dataset
    schemas = _schemas(node, dataset.id)
    if not schemas:
        names = sorted(node.config.data)
        hint = f"It has {_listed(names)}." if names else "Describe its file: fusion data add FILE"
        message = f"{node.config.id} has no dataset called `{dataset.id}`."
        yield ("dataset", "id"), message, _near(dataset.id, names) or hint
        return
    columns = schemas.get(dataset.schema_digest)
    if columns is None:
        message = f"{dataset.id} has another schema than the one of this `schema_digest`."
        hint = f"It is {' or '.join(schemas)}; see: fusion grant schema {dataset.id}"
        yield ("dataset", "schema_digest"), message, hint
        columns = set[str]().union(*schemas.values())
    for name in dataset.columns:
        if name not in columns:
            hint = _near(name, sorted(columns)) or f"It has {_listed(sorted(columns))}."
            yield ("dataset", "columns"), f"{dataset.id} has no column called `{name}`.", hint


def _schemas(node: NodeHome, dataset: str) -> dict[str, set[str]]:
    """Return the columns of a dataset by the digests that a grant may name.

    That of its file, and that of the tables under its policy, which may lie in a database.
    """
    found: dict[str, set[str]] = {}
    if dataset in node.config.data:
        columns = grants.schema_of(node, dataset)
        found[schema_digest(columns)] = set(columns)
    try:
        attached = engines.queries().attached(node, dataset)
    except (EnvironmentUnfit, InputInvalid):
        attached = None  # no engine of queries, or no name that a dataset with a policy has
    if attached is not None:
        found.setdefault(attached["schema_digest"], set()).update(attached["columns"])
    return found


def _near(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    return f"Did you mean `{near[0]}`?" if near else ""


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more
