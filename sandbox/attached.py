"""A policy attached to a dataset: signed by its owner, versioned, with the tables of then.

::

    HOME/queries/DATASET/policy.json     the attachment, signed; the newest revision
    HOME/queries/DATASET/rN/NAME.parquet the tables of revision N, as they were copied
    HOME/queries/DATASET/rN/people.parquet  who is on its list, under which number
    HOME/queries/DATASET/rN/tables.duckdb  the tables as queries want them (:mod:`sandbox.store`)

A revision is an epoch of the history: people and values are frozen, so that no answer shows who
came or went since. The next revision gives everybody who was on a list the same number, and counts
what was released of them before.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import pyarrow as pa
from pyarrow import parquet
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fusion.catalogue.descriptor import schema_digest
from fusion.connectors.schemas import read_schema
from fusion.errors import InputInvalid, MessageInvalid, QueryFailed, VerificationFailed
from fusion.services.catalogue import check_usable, is_name
from fusion.services.files import make_folder, read_file, write_atomic
from fusion.wire import canonical, envelope
from fusion.wire.limits import MEBI
from sandbox import engine, ledgers, store, tables
from sandbox.dialects import quoted
from sandbox.partials import Limits
from sandbox.policy import MAX_POLICY_BYTES, Policy, policy_of
from sandbox.private.mechanism import check_available
from sandbox.reading import parse_policy
from sandbox.sets import COHORT
from sandbox.trying import tables_in

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fusion.services.homes import NodeHome

TYPE: Final = "application/vnd.fusion.attached-policy/1+json"
MAX_ATTACHED_BYTES: Final = 2 * MAX_POLICY_BYTES
MAX_PEOPLE: Final = 20_000_000
PEOPLE: Final = "people.parquet"
_BLOCK: Final = MEBI


class _Document(BaseModel):
    """What is signed, beside the policy."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    schema_: Literal["fusion.attached-policy/1"] = Field(alias="schema")
    owner: str
    dataset: str
    revision: Annotated[int, Field(ge=1)]
    tables: dict[str, str]
    people: Annotated[int, Field(ge=0, le=MAX_PEOPLE)]
    people_digest: str
    schema_digest: str
    columns: list[str]
    # Absent from what was attached before there were stores.
    store_digest: str = ""
    coded: list[str] = []
    policy: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Attached:
    """A policy that holds for a dataset now.

    Attributes:
        owner: Whose data.
        dataset: Which dataset.
        revision: How often a policy was attached; the epoch of the history.
        policy: What may be asked.
        inputs: The frozen tables, and the list of people under :data:`sandbox.sets.COHORT`.
        people: How many are on the list.
        people_digest: Names the list.
        schema_digest: Of the tables, as a grant names it.
        columns: Every column of the policy, as grants name them.
        digests: SHA-256 of each frozen table, as it was signed.
        store: The file that queries read; None of a revision that was attached without one.
        store_digest: SHA-256 of it.
        coded: Its columns with codes, as ``table.column``.
    """

    owner: str
    dataset: str
    revision: int
    policy: Policy
    inputs: Mapping[str, Path]
    people: int
    people_digest: str
    schema_digest: str
    columns: tuple[str, ...]
    digests: Mapping[str, str]
    store: Path | None = None
    store_digest: str = ""
    coded: frozenset[str] = frozenset()

    @property
    def epoch(self) -> str:
        """How the history calls this revision."""
        return f"r{self.revision}"

    def named(self, full: str) -> str:
        """Return the name that grants have for ``table.column``."""
        return column_name(self.policy, full)


def column_name(policy: Policy, full: str) -> str:
    """Return the name that grants have for ``table.column``: of one table alone, the column's."""
    return full.partition(".")[2] if len(policy.tables) == 1 else full


def folder(node: NodeHome, dataset: str) -> Path:
    """Return where a dataset's policy and frozen tables are.

    Raises:
        InputInvalid: The text can't be the name of a dataset.
    """
    if not is_name(dataset) or len(dataset) > 63:
        raise InputInvalid("This can't be the name of a dataset.")
    return node.path / "queries" / dataset


def attach(node: NodeHome, text: str, origin: str, dataset: str, data: Path | None) -> Attached:
    """Freeze a dataset's tables and attach a policy to it, signed by the node's organisation.

    Args:
        node: The owner's node.
        text: The policy as it was written.
        origin: Where it is from.
        dataset: To which dataset.
        data: Folder with a file for each table; None for the dataset's own file, of a policy with
            one table.

    Raises:
        PolicyInvalid: A rule is broken; names the line.
        InputInvalid: A table has no file, or there are too many people.
        DataInvalid: A file can't be read.
        Refused: The dataset is core data.
        EnvironmentUnfit: The policy asks for differential privacy, and OpenDP is not installed.
        QueryFailed: The people of the tables could not be listed.
    """
    policy = parse_policy(text, origin)
    if policy.mode == "dp":
        check_available()
    check_usable(node, dataset)
    where = make_folder(folder(node, dataset))
    with node.lock():
        before = attached(node, dataset)
        revision = _next(where, before)
        sources = _sources(node, policy, dataset, data)
        with tempfile.TemporaryDirectory(dir=where, prefix=".new-") as name:
            frozen = Path(name) / "tables"
            frozen.mkdir(0o700)
            made = freeze(policy, sources, frozen, before)
            document = _document(node, policy, dataset, revision, frozen)
            document |= {"tables": made.digests, "people": made.people, "coded": list(made.coded)}
            frozen.rename(where / f"r{revision}")
        signed = envelope.sign(document, TYPE, node.statement_key, node.config.id)
        found = _opened(node, dataset, signed)
        if before is not None:
            # Before the new revision holds: what was released of these people stays counted.
            ledgers.carry(node, before, found)
        write_atomic(where / "policy.json", signed)
        for old in where.glob("r[0-9]*"):
            if old.name != found.epoch:
                shutil.rmtree(old, ignore_errors=True)
    return found


@dataclass(frozen=True, slots=True)
class Frozen:
    """What a folder of frozen tables holds.

    Attributes:
        digests: SHA-256 of the plain copy of each table.
        people: How many are on the list.
        coded: Columns of the store with codes.
    """

    digests: dict[str, str]
    people: int
    coded: tuple[str, ...]


def freeze(
    policy: Policy, sources: Mapping[str, Path], frozen: Path, before: Attached | None = None
) -> Frozen:
    """Copy tables, list their people and make the store (:mod:`sandbox.store`).

    Args:
        policy: Of the tables.
        sources: The file of each.
        frozen: An empty folder.
        before: The revision whose people keep their numbers.

    Raises:
        InputInvalid: A file can't be copied or read as the policy says; there are too many people.
        QueryFailed: The people of the tables could not be listed.
    """
    digests = {
        table: _copied(path, frozen / f"{table}{path.suffix.lower()}")
        for table, path in sources.items()
    }
    listed = _listed(policy, frozen, before)
    _write_people(listed, frozen / PEOPLE)
    coded = store.make(policy, _files(policy, frozen), frozen / PEOPLE, frozen / store.FILE)
    return Frozen(digests, len(listed), coded)


def plain_tables(found: Attached) -> dict[str, Path]:
    """Return the plain copy of each table, Parquet or CSV, by the policy's name of it.

    They are what the owner had: columns that the policy does not name are in them too, and nothing
    is cast or clamped (:func:`sandbox.tables.read` does that).
    """
    return {name: path for name, path in found.inputs.items() if name != COHORT}


def _next(where: Path, before: Attached | None) -> int:
    """Return the next revision: a number that a crash has left behind is not used again."""
    left = [int(path.name[1:]) for path in where.glob("r[0-9]*") if path.name[1:].isdigit()]
    return 1 + max([*left, 0 if before is None else before.revision])


def _write_people(listed: list[str], path: Path) -> None:
    numbers = pa.array(range(len(listed)), pa.int32())
    parquet.write_table(pa.table({"e": pa.array(listed, pa.string()), "n": numbers}), path)
    path.chmod(0o644)


def _sources(node: NodeHome, policy: Policy, dataset: str, data: Path | None) -> dict[str, Path]:
    if data is not None:
        return tables_in(data, policy)
    own = node.config.data.get(dataset)
    if own is None or len(policy.tables) != 1:
        raise InputInvalid(
            f"The files of the policy's tables are not known for {dataset}.",
            hint="Name the folder with a Parquet or CSV file for each table: --data DIR",
        )
    return {next(iter(policy.tables)): own}


def _copied(source: Path, target: Path) -> str:
    """Copy a table; return the digest of the copy."""
    if target.suffix not in engine.READERS:
        raise InputInvalid("A table is a Parquet or a CSV file.")
    state = hashlib.sha256()
    try:
        with source.open("rb") as old, target.open("xb") as new:
            while block := old.read(_BLOCK):
                state.update(block)
                new.write(block)
    except OSError as error:
        raise InputInvalid(f"{source} can't be copied: {error.strerror}.") from error
    target.chmod(0o644)  # workers may run under another account; nobody else passes the folder
    return state.hexdigest()


def _document(
    node: NodeHome, policy: Policy, dataset: str, revision: int, frozen: Path
) -> dict[str, Any]:
    schemas = {table: read_schema(path) for table, path in _files(policy, frozen).items()}
    merged = {
        column_name(policy, f"{table}.{column}"): kind
        for table, schema in schemas.items()
        for column, kind in schema.items()
    }
    columns = [
        column_name(policy, f"{table}.{column}")
        for table, what in policy.tables.items()
        if not what.public
        for column in what.columns
    ]
    return {
        "schema": "fusion.attached-policy/1",
        "owner": node.config.id,
        "dataset": dataset,
        "revision": revision,
        "people_digest": _digest(frozen / PEOPLE),
        "store_digest": _digest(frozen / store.FILE),
        "schema_digest": schema_digest(merged),
        "columns": columns,
        "policy": policy.document(),
    }


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _files(policy: Policy, frozen: Path) -> dict[str, Path]:
    found = {}
    for table in policy.tables:
        there = [
            path for suffix in engine.READERS if (path := frozen / f"{table}{suffix}").exists()
        ]
        if len(there) != 1:
            raise VerificationFailed("A frozen table is missing; attach the policy again.")
        found[table] = there[0]
    return found


def _listed(policy: Policy, frozen: Path, before: Attached | None) -> list[str]:
    """Return everybody in the tables, with the numbers of an earlier list."""
    parts = [
        f"SELECT CAST({tables.read(table.entity, table.columns[table.entity], 'duckdb')} "  # noqa: S608 - names of the policy
        f"AS VARCHAR) AS e FROM {quoted(name)}"
        for name, table in policy.tables.items()
        if table.entity is not None
    ]
    old = (
        [] if before is None else parquet.read_table(before.inputs[COHORT]).column("e").to_pylist()
    )
    if not parts:
        return old
    connection = engine.locked(_files(policy, frozen), Limits())
    try:
        union = " UNION ".join(parts)
        rows = connection.execute(
            f"SELECT e FROM ({union}) WHERE e IS NOT NULL ORDER BY e LIMIT {MAX_PEOPLE + 1}"  # noqa: S608 - compiled
        ).fetchall()
    except Exception:  # noqa: BLE001 - a database's message quotes cells
        raise QueryFailed from None
    finally:
        connection.close()
    known = set(old)
    found = [*old, *(e for (e,) in rows if e not in known)]
    if len(found) > MAX_PEOPLE:
        raise InputInvalid(f"A dataset is about at most {MAX_PEOPLE} people.")
    return found


def attached(node: NodeHome, dataset: str) -> Attached | None:
    """Return the policy that holds for a dataset; None if there is none.

    Raises:
        VerificationFailed: It is not signed by the node's organisation for this dataset, or a
            frozen table is missing.
        InputInvalid: The text can't be the name of a dataset.
    """
    path = folder(node, dataset) / "policy.json"
    return _opened(node, dataset, read_file(path)) if path.exists() else None


def _opened(node: NodeHome, dataset: str, signed: bytes) -> Attached:
    keys = {node.config.id: node.public_keys().statement_key}
    _, payload = envelope.open_signed(signed, TYPE, keys, MAX_ATTACHED_BYTES)
    try:
        # As JSON, in which a list is a list.
        document = _Document.model_validate_json(canonical.encode(payload))
    except ValidationError:
        raise MessageInvalid("An attached policy is not well formed.") from None
    if (document.owner, document.dataset) != (node.config.id, dataset):
        raise VerificationFailed("An attached policy is that of another dataset.")
    policy = policy_of(canonical.encode(document.policy))
    frozen = folder(node, dataset) / f"r{document.revision}"
    if document.store_digest and not (frozen / store.FILE).exists():
        raise VerificationFailed("The frozen tables are missing; attach the policy again.")
    return Attached(
        owner=document.owner,
        dataset=dataset,
        revision=document.revision,
        policy=policy,
        inputs={**_files(policy, frozen), COHORT: frozen / PEOPLE},
        people=document.people,
        people_digest=document.people_digest,
        schema_digest=document.schema_digest,
        columns=tuple(document.columns),
        digests=document.tables,
        store=frozen / store.FILE if document.store_digest else None,
        store_digest=document.store_digest,
        coded=frozenset(document.coded),
    )


def check_frozen(found: Attached) -> None:
    """Read the frozen tables and the list of people, and compare them with what was signed.

    Raises:
        VerificationFailed: One was changed, or can't be read.
    """
    wanted = {**found.digests, COHORT: found.people_digest, store.STORE: found.store_digest}
    files = dict(found.inputs)
    if found.store is not None:
        files[store.STORE] = found.store
    for name, path in files.items():
        try:
            actual = _digest(path)
        except OSError:
            actual = ""
        if actual != wanted.get(name):
            raise VerificationFailed(
                f"{path} is not what was signed.", hint="Attach the policy again."
            )
