"""The demo's questions: one organisation lets its table be asked about, another one asks.

One question is answered, one is refused and says what would pass, one is that repair. Policy and
grant are made while the key's primes are searched for, and the questions are asked over the hub's
port while the model is trained: what they cost is not waited for.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
from pyarrow import parquet

from fusion.errors import NoQueries, PartyFailed
from fusion.services import engines, grants, querying
from fusion.services.clock import SystemClock, timestamp
from fusion.services.files import make_folder
from fusion.services.homes import NodeHome
from fusion.services.node_link import Connection
from fusion.services.statements import part_at

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

OWNER: Final = "local"
ASKER: Final = "state"
DATASET: Final = "workers"
PURPOSE: Final = "dpv:PublicBenefit"
STATEMENTS: Final = (
    """\
select sex, count(*) as people, avg(hours) as hours_a_week
from workers group by sex order by sex""",
    # Refused: a maximum is one person's value.
    """\
select education, count(*) as people, max(hours) as longest_week
from workers group by education order by people desc limit 8""",
    # The repair that the refusal names: a quantile.
    """\
select education, count(*) as people, quantile_cont(hours, 0.9) as nine_in_ten_below
from workers group by education order by people desc limit 8""",
)
_ROWS: Final = 10
_SECONDS: Final = 60
_REFUSED: Final = 4
_COLUMNS: Final = {
    "age": "age", "sex": "sex", "education": "education", "hours-per-week": "hours",
    "income": "income",
}  # fmt: skip
"""Columns of the demo's table, and what they are called in its policy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """What was made before anything is asked.

    Attributes:
        grant: Id of the grant under which it is asked.
        policy: Digest of the policy.
    """

    grant: str
    policy: str


def prepare(policy: Path, table: Path, nodes: Mapping[str, Path], folder: Path) -> Prepared:
    """Attach the policy to the owner's table and have both sign a grant; the nodes may be up.

    Args:
        policy: The policy as somebody wrote it.
        table: The owner's table; it has one person a row and no number for them.
        nodes: Each organisation's folder.
        folder: A new folder for the table with a number for each person.

    Raises:
        FusionError: A verb failed.
    """
    _number(table, make_folder(folder) / f"{DATASET}.parquet")
    owner, asker = NodeHome.open(nodes[OWNER]), NodeHome.open(nodes[ASKER])
    text = policy.read_text("utf-8")
    attached = engines.queries().attach_policy(owner, text, policy.name, DATASET, folder)
    document = json.dumps(_grant(attached["columns"], attached["schema_digest"]))
    proposed = grants.propose(owner, document, "grant.yaml")
    signed = grants.sign(asker, proposed.signed.envelope)
    kept = grants.add(owner, signed.signed.envelope)
    return Prepared(grant=kept.signed.id, policy=attached["digest"])


def _number(table: Path, to: Path) -> None:
    """Write a table with a number for each person, and names that a policy can have."""
    read = parquet.read_table(table, columns=list(_COLUMNS))
    columns = {"person": pa.array(range(read.num_rows), pa.int32())}
    for name, called in _COLUMNS.items():
        column = read.column(name)
        coded = pa.types.is_dictionary(column.type)
        columns[called] = column.cast(pa.string()) if coded else column
    parquet.write_table(pa.table(columns), to)


def _grant(columns: list[str], schema_digest: str) -> dict[str, Any]:
    """Return the least grant under which the questions can be asked, for a day from now."""
    now = SystemClock().now()
    count = len(STATEMENTS)
    return {
        "schema": "fusion.grant/1",
        "title": "The demo's questions",
        "assigners": [OWNER],
        "assignee": ASKER,
        "dataset": {"id": DATASET, "columns": columns, "schema_digest": schema_digest},
        "permissions": {
            "query": {
                "outputs": ["table"],
                "rows": count * _ROWS,
                "epsilon_micro": count,
                "runs": count,
            }
        },
        "purpose": PURPOSE,
        "fee": {"kind": "public-interest"},
        "not_before": timestamp(now - timedelta(minutes=5)),
        "not_after": timestamp(now + timedelta(days=1)),
        "signers": [
            {"role": "owner", "organisation": OWNER},
            {"role": "operator", "organisation": ASKER},
        ],
    }


def ask(prepared: Prepared, nodes: Mapping[str, Path]) -> dict[str, Any]:
    """Ask the questions from one node of another; hub and both are up.

    Returns:
        ``available`` (false where nothing on this machine confines work, so that no node answers),
        ``owner``, ``asker``, ``dataset``, ``grant``, ``policy``, ``seconds``, and ``questions``,
        each with what became of it.

    Raises:
        FusionError: A question was neither answered nor refused by a rule.
    """
    began = time.monotonic()
    told: dict[str, Any] = {
        "available": True,
        "owner": OWNER,
        "asker": ASKER,
        "dataset": f"{OWNER}/{DATASET}",
        "grant": prepared.grant,
        "policy": prepared.policy,
    }
    home = NodeHome.open(nodes[ASKER])
    with Connection(home) as connection:
        try:
            querying.describe(connection, told["dataset"])
        except NoQueries:
            return {**told, "available": False, "questions": [], "seconds": 0.0}
        questions = [_asked(connection, home, statement) for statement in STATEMENTS]
    return {**told, "questions": questions, "seconds": round(time.monotonic() - began, 2)}


def counted(told: Mapping[str, Any]) -> str:
    """Return in words how many questions were asked, and what became of them."""
    outcomes = [each["outcome"] for each in told["questions"]]
    parts = [f"{outcomes.count(each)} {each}" for each in ("answered", "refused")]
    return f"{len(outcomes)} questions: {', '.join(parts)}"


def _asked(connection: Connection, home: NodeHome, statement: str) -> dict[str, Any]:
    """Ask one question; return the statement and what became of it."""
    began = time.monotonic()
    try:
        table = querying.query(
            connection,
            home,
            f"{OWNER}/{DATASET}",
            statement,
            purpose=PURPOSE,
            rows=_ROWS,
            seconds=_SECONDS,
        )
    except PartyFailed as error:
        if error.exit_code != _REFUSED:
            raise
        became: dict[str, Any] = {
            "outcome": "refused",
            "code": error.code,
            "message": error.message,
            "hint": error.hint,
            "start": error.start,
            "length": 0 if error.start is None else part_at(statement, error.start),
        }
    else:
        became = {
            "outcome": "answered",
            "columns": list(table.columns),
            "rows": [list(row) for row in table.rows],
            "notes": [note.model_dump() for note in table.notes],
        }
    return {"statement": statement, **became, "seconds": round(time.monotonic() - began, 2)}
