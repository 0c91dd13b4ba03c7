"""A policy attached to a dataset: signed by its owner, versioned, with the tables of then.

::

    HOME/queries/DATASET/policy.json     the attachment, signed; the newest revision
    HOME/queries/DATASET/rN/NAME.parquet the tables of revision N, as they were copied
    HOME/queries/DATASET/rN/_people.parquet who is on its list, under which number
    HOME/queries/DATASET/rN/reader       of tables in a database: the URI of the role that reads;
                                         of tables for Spark: their URI
    HOME/queries/DATASET/rN/tables.duckdb  the tables as queries want them (:mod:`sandbox.store`)
    HOME/queries/DATASET/rN/tables.arrays  their columns as plain arrays (:mod:`sandbox.arrays`)

No file of ours is one of a table: the name of a table begins with a letter, that of its copy ends
in ``.csv`` or ``.parquet``.

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
from fusion.errors import InputInvalid, MessageInvalid, VerificationFailed
from fusion.services.catalogue import check_usable, is_name
from fusion.services.files import make_folder, read_file, write_atomic
from fusion.wire import canonical, envelope
from sandbox import arrays, disk, freezing, ledgers, postgres_freeze, spark_freeze, store
from sandbox.inspecting import Told
from sandbox.policy import MAX_POLICY_BYTES, Policy, policy_of
from sandbox.private.mechanism import check_available
from sandbox.reading import parse_policy
from sandbox.sets import COHORT

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fusion.services.homes import NodeHome
    from sandbox.fanout import PublicRows

TYPE: Final = "application/vnd.fusion.attached-policy/1+json"
MAX_ATTACHED_BYTES: Final = 4 * MAX_POLICY_BYTES
PEOPLE: Final = "_people.parquet"
_PEOPLE_BEFORE: Final = "people.parquet"
"""Its name in revisions that were attached while a table could not be called ``people``."""

READER: Final = "reader"


class _Document(BaseModel):
    """What is signed, beside the policy."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    schema_: Literal["fusion.attached-policy/1"] = Field(alias="schema")
    owner: str
    dataset: str
    revision: Annotated[int, Field(ge=1)]
    tables: dict[str, str]
    people: Annotated[int, Field(ge=0, le=freezing.MAX_PEOPLE)]
    people_digest: str
    schema_digest: str
    columns: list[str]
    # Absent from what was attached before there were stores, or public rows were counted.
    store_digest: str = ""
    arrays_digest: str = ""
    coded: list[str] = []
    public: dict[str, dict[str, Annotated[int, Field(ge=0)]]] | None = None
    policy: dict[str, Any]
    source: Literal["files", "postgres", "spark"] = "files"
    place: Annotated[str, Field(max_length=63)] = ""


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
        digests: Of each frozen table, as it was signed.
        source: Where they are: ``files``, ``postgres`` or ``spark``.
        place: The schema of the database, or the name of Spark's folder, where they are.
        store: The file that queries read; None of a revision that was attached without one.
        store_digest: SHA-256 of it.
        arrays: Its columns as plain arrays; None of a revision that was attached without them.
        arrays_digest: SHA-256 of them.
        coded: Its columns with codes, as ``table.column``.
        public: How many rows of public tables have one value (:mod:`sandbox.fanout`), if known.
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
    source: str = "files"
    place: str = ""
    store: Path | None = None
    store_digest: str = ""
    arrays: Path | None = None
    arrays_digest: str = ""
    coded: frozenset[str] = frozenset()
    public: PublicRows | None = None

    def opened(self) -> dict[str, Path]:
        """Return what a worker gets of the store, by the name that it has there."""
        found = {store.STORE: self.store, arrays.ARRAYS: self.arrays}
        return {name: path for name, path in found.items() if path is not None}

    @property
    def epoch(self) -> str:
        """How the history calls this revision."""
        return f"r{self.revision}"

    def named(self, full: str) -> str:
        """Return the name that grants have for ``table.column``."""
        return self.policy.named(full)


def folder(node: NodeHome, dataset: str) -> Path:
    """Return where a dataset's policy and frozen tables are.

    Raises:
        InputInvalid: The text can't be the name of a dataset.
    """
    if not is_name(dataset) or len(dataset) > 63:
        raise InputInvalid("This can't be the name of a dataset.")
    return node.path / "queries" / dataset


@dataclass(frozen=True, slots=True)
class Origin:
    """Where an owner's tables are; with nothing said, the dataset's own file is the one table.

    Attributes:
        data: Folder with a file for each table, or a DuckDB file.
        keeper: URI of a PostgreSQL database, with the role that freezes tables.
        reader: URI of the same, with the role that will be asked.
        lake: ``spark+parquet:///FOLDER``; see :func:`sandbox.spark.lake_of`.
    """

    data: Path | None = None
    keeper: str = ""
    reader: str = ""
    lake: str = ""


def attach(
    node: NodeHome, text: str, origin: str, dataset: str, where_from: Origin | None = None
) -> Attached:
    """Do what :func:`attach_and_tell` does; return what holds."""
    return attach_and_tell(node, text, origin, dataset, where_from)[0]


def attach_and_tell(
    node: NodeHome, text: str, origin: str, dataset: str, where_from: Origin | None = None
) -> tuple[Attached, Told]:
    """Freeze a dataset's tables and attach a policy to it, signed by the node's organisation.

    Where policy and files are those that are attached already, nothing changes: a revision is an
    epoch of the history, and what was released in it can be given again in no other.

    Args:
        node: The owner's node.
        text: The policy as it was written.
        origin: Where it is from.
        dataset: To which dataset.
        where_from: Where the tables are.

    Raises:
        PolicyInvalid: A rule is broken; names the line.
        InputInvalid: A table has no file, there are too many people, or the source does not go with
            the other options or with the policy's mode.
        DataInvalid: A file or a database can't be read.
        Refused: The dataset is core data, or a role of the database may do more than it is to.
        QueryFailed: The people of the tables could not be listed.
        EnvironmentUnfit: The database can't be asked; the policy asks for differential privacy, and
            OpenDP is not installed; the disk is full: what was attached before holds.
    """
    policy, tables = parse_policy(text, origin), where_from or Origin()
    if policy.mode == "dp":
        check_available()
    check_usable(node, dataset)
    where = make_folder(folder(node, dataset))
    with node.lock(), disk.writing(where):
        before = attached(node, dataset)
        revision = _next(where, before)
        with tempfile.TemporaryDirectory(dir=where, prefix=".new-") as name:
            copies = Path(name) / "tables"
            copies.mkdir(0o700)
            frozen = _frozen(node, policy, dataset, revision, tables, copies, _known(before))
            _write_people(frozen.listed, copies / PEOPLE)
            document = _document(node, policy, dataset, revision, frozen)
            document["people_digest"] = _digest(copies / PEOPLE)
            if before is not None and _is_same(before, document):
                return before, Told(frozen.looked, unchanged=True)
            if not frozen.place:
                document |= _stored(policy, copies)
            copies.rename(where / f"r{revision}")
        found = _made_to_hold(node, where, before, document)
        for old in where.glob("r[0-9]*"):
            if old.name != found.epoch:
                shutil.rmtree(old, ignore_errors=True)
    if found.source == "postgres":
        postgres_freeze.drop_others(tables.keeper, found.owner, dataset, found.place)
    elif found.source == "spark":
        spark_freeze.drop_others(tables.lake, found.owner, dataset, found.place)
    return found, Told(frozen.looked)


def _made_to_hold(
    node: NodeHome, where: Path, before: Attached | None, document: Mapping[str, Any]
) -> Attached:
    """Sign a revision whose copies are there, and have it hold from here on."""
    signed = envelope.sign(document, TYPE, node.statement_key, node.config.id)
    holding = where / "policy.json"
    with disk.emptied_on_failure(where / f"r{document['revision']}", holding, signed):
        found = _opened(node, document["dataset"], signed)
        if before is not None:
            # Before the new revision holds: what was released of these people stays counted.
            ledgers.carry(node, before, found)
        write_atomic(holding, signed)
    return found


def _is_same(before: Attached, document: Mapping[str, Any]) -> bool:
    """Return whether a revision holds what would be attached, byte for byte, and is whole."""
    if before.source != "files" or before.store is None or before.arrays is None:
        return False
    had = (before.policy.document(), dict(before.digests), before.people_digest,
           before.public or {})  # fmt: skip
    now = (document["policy"], document["tables"], document["people_digest"], document["public"])
    if had != now or document.get("source", "files") != "files":
        return False
    try:
        check_frozen(before)
    except VerificationFailed:
        return False
    return True


def _frozen(node: NodeHome, policy: Policy, dataset: str, revision: int, origin: Origin,
            copies: Path, known: list[str]) -> freezing.Frozen:  # fmt: skip
    if origin.lake:
        if origin.data is not None or origin.keeper or origin.reader:
            raise InputInvalid("Tables for Spark have no --data and no --reader: --source alone.")
        write_atomic(copies / READER, origin.lake.encode())
        return spark_freeze.freeze(
            policy,
            origin.lake,
            owner=node.config.id,
            dataset=dataset,
            revision=revision,
            known=known,
        )
    if not origin.keeper:
        sources = _sources(node, policy, dataset, origin.data)
        return freezing.freeze(policy, sources, copies, known)
    if origin.data is not None or not origin.reader:
        raise InputInvalid(
            "A database has two roles, and no --data: --source URI and --reader URI.",
            hint="See docs/sources.md; `fusion policy source-sql POLICY.yaml` prints the SQL.",
        )
    write_atomic(copies / READER, origin.reader.encode())
    return postgres_freeze.freeze(
        policy,
        origin.keeper,
        origin.reader,
        owner=node.config.id,
        dataset=dataset,
        revision=revision,
        known=known,
    )


def _stored(policy: Policy, copies: Path) -> dict[str, Any]:
    """Make the store of copies (:mod:`sandbox.store`); return what is signed of it."""
    files = freezing.files_in(policy, copies)
    coded = store.make(policy, files, copies / PEOPLE, copies / store.FILE)
    return {
        "store_digest": _digest(copies / store.FILE),
        "arrays_digest": _digest(copies / arrays.FILE),
        "coded": list(coded),
    }


@dataclass(frozen=True, slots=True)
class Stored:
    """What a folder of frozen files holds.

    Attributes:
        digests: SHA-256 of the plain copy of each table.
        people: How many are on the list.
        coded: Columns of the store with codes.
        public: How many rows of public tables have one value (:mod:`sandbox.fanout`).
    """

    digests: dict[str, str]
    people: int
    coded: tuple[str, ...]
    public: PublicRows


def freeze(policy: Policy, sources: Mapping[str, Path], copies: Path) -> Stored:
    """Copy tables, list their people and make the store (:mod:`sandbox.store`).

    Args:
        policy: Of the tables.
        sources: The file of each.
        copies: An empty folder.

    Raises:
        InputInvalid: A file can't be copied or read as the policy says; there are too many people.
        QueryFailed: The people of the tables could not be listed.
        OSError: The disk is full, or the like.
    """
    frozen = freezing.freeze(policy, sources, copies, [])
    _write_people(frozen.listed, copies / PEOPLE)
    stored = _stored(policy, copies)
    return Stored(dict(frozen.digests), len(frozen.listed), tuple(stored["coded"]), frozen.public)


def plain_tables(found: Attached) -> dict[str, Path]:
    """Return the plain copy of each table, Parquet or CSV, by the policy's name of it.

    They are what the owner had: columns that the policy does not name are in them too, and nothing
    is cast or clamped (:func:`sandbox.tables.read` does that). Tables in a database have none.
    """
    return {name: path for name, path in found.inputs.items() if name != COHORT}


def _next(where: Path, before: Attached | None) -> int:
    """Return the next revision: a number that a crash has left behind is not used again."""
    left = [int(path.name[1:]) for path in where.glob("r[0-9]*") if path.name[1:].isdigit()]
    return 1 + max([*left, 0 if before is None else before.revision])


def _known(before: Attached | None) -> list[str]:
    if before is None:
        return []
    listed: list[str] = parquet.read_table(before.inputs[COHORT]).column("e").to_pylist()
    return listed


def _write_people(listed: list[str], path: Path) -> None:
    numbers = pa.array(range(len(listed)), pa.int32())
    parquet.write_table(pa.table({"e": pa.array(listed, pa.string()), "n": numbers}), path)
    path.chmod(0o644)


def _sources(node: NodeHome, policy: Policy, dataset: str, data: Path | None) -> dict[str, Path]:
    if data is not None and data.suffix.lower() == freezing.DATABASE:
        return dict.fromkeys(policy.tables, data)
    if data is not None:
        return freezing.tables_in(data, policy)
    own = node.config.data.get(dataset)
    if own is None or len(policy.tables) != 1:
        raise InputInvalid(
            f"The files of the policy's tables are not known for {dataset}.",
            hint="Name the folder with a Parquet or CSV file for each table: --data DIR",
        )
    return {next(iter(policy.tables)): own}


def _document(
    node: NodeHome, policy: Policy, dataset: str, revision: int, frozen: freezing.Frozen
) -> dict[str, Any]:
    merged = {
        policy.named(f"{table}.{column}"): kind
        for table, schema in frozen.schemas.items()
        for column, kind in schema.items()
    }
    columns = [
        policy.named(f"{table}.{column}")
        for table, what in policy.tables.items()
        if not what.public
        for column in what.columns
    ]
    return {
        "schema": "fusion.attached-policy/1",
        "owner": node.config.id,
        "dataset": dataset,
        "revision": revision,
        "tables": dict(frozen.digests),
        "people": len(frozen.listed),
        "schema_digest": schema_digest(merged),
        "columns": columns,
        "policy": policy.document(),
        "public": {name: dict(counts) for name, counts in frozen.public.items()},
        **({"source": frozen.source, "place": frozen.place} if frozen.place else {}),
    }


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


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
    files = {} if document.source != "files" else freezing.files_in(policy, frozen)
    derived = {store.FILE: document.store_digest, arrays.FILE: document.arrays_digest}
    if any(digest and not (frozen / name).exists() for name, digest in derived.items()):
        raise VerificationFailed("The frozen tables are missing; attach the policy again.")
    return Attached(
        owner=document.owner,
        dataset=dataset,
        revision=document.revision,
        policy=policy,
        inputs={**files, COHORT: _list_in(frozen)},
        people=document.people,
        people_digest=document.people_digest,
        schema_digest=document.schema_digest,
        columns=tuple(document.columns),
        digests=document.tables,
        source=document.source,
        place=document.place,
        store=frozen / store.FILE if document.store_digest else None,
        store_digest=document.store_digest,
        arrays=frozen / arrays.FILE if document.arrays_digest else None,
        arrays_digest=document.arrays_digest,
        coded=frozenset(document.coded),
        public=document.public,
    )


def _list_in(frozen: Path) -> Path:
    """Return the list of people of a revision; whether it is that one is seen by its digest."""
    own = frozen / PEOPLE
    return own if own.exists() else frozen / _PEOPLE_BEFORE


def check_frozen(found: Attached) -> None:
    """Read the frozen tables and the list of people, and compare them with what was signed.

    Raises:
        VerificationFailed: One was changed, or can't be read.
    """
    wanted = {
        **found.digests,
        COHORT: found.people_digest,
        store.STORE: found.store_digest,
        arrays.ARRAYS: found.arrays_digest,
    }
    files = {**found.inputs, **found.opened()}
    for name, path in files.items():
        try:
            actual = _digest(path)
        except OSError:
            actual = ""
        if actual != wanted.get(name):
            raise VerificationFailed(
                f"{path} is not what was signed.", hint="Attach the policy again."
            )
