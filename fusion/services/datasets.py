"""An owner's verbs for its datasets: describe a file, withdraw a dataset, hand it out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fusion.catalogue.cells import findings, text_columns
from fusion.catalogue.declaration import describe, parse_declaration
from fusion.catalogue.signing import check_published, open_descriptor, sign_descriptor
from fusion.connectors.files import read_table
from fusion.connectors.schemas import count_rows, read_schema
from fusion.errors import InputInvalid, SignatureInvalid
from fusion.identity.members import member_id
from fusion.services.catalogue import folder_of, is_name
from fusion.services.clock import SystemClock, timestamp
from fusion.services.files import make_folder, write_atomic
from fusion.services.homes import NodeHome
from fusion.services.node_file import register, unregister

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from fusion.catalogue.cells import Finding
    from fusion.catalogue.descriptor import Descriptor, Entity
    from fusion.catalogue.signing import SignedDescriptor
    from fusion.ports import Clock
    from fusion.services.catalogue import CatalogueFolder


@dataclass(frozen=True, slots=True, kw_only=True)
class Added:
    """A dataset as it was just described.

    Attributes:
        descriptor: What others may know of it.
        path: The signed descriptor's file.
        registered: Whether engines can use it: not if it is core data.
        findings: What in the data does not fit the description; for the owner alone.
    """

    descriptor: Descriptor
    path: Path
    registered: bool
    findings: tuple[Finding, ...]


def add(
    node: NodeHome,
    file: Path,
    *,
    dataset: str,
    text: str,
    origin: str,
    entities: Mapping[str, Entity] | None = None,
    clock: Clock | None = None,
) -> Added:
    """Describe a file and make it a dataset of this node; again for a new revision.

    Args:
        node: The owner's node.
        file: CSV or Parquet.
        dataset: Name of the dataset.
        text: The declaration, as YAML.
        origin: The declaration's file, for messages.
        entities: Column to what it identifies, in addition to the declaration.
        clock: Time.

    Raises:
        CatalogueInvalid: The declaration is wrong, or does not fit the table.
        DataInvalid: The table can't be read.
        InputInvalid: It is core data and in use, or ``node.toml`` can't be changed.
    """
    file = file.resolve()
    described = describe(
        parse_declaration(text, origin),
        dataset=dataset,
        owner=member_id(node.config.id),
        schema=read_schema(file),
        entities=entities or {},
        rows=count_rows(file),
        revision=1,
        issued=timestamp((clock or SystemClock()).now()),
    )
    # A large table takes a while to look at: before the folder is locked.
    found = look_at(described, file)
    registered = described.level != "core"
    with node.lock():
        folder = folder_of(node)
        before = folder.believed(described.owner, described.id)
        newest = 0 if before is None else before.descriptor.revision
        descriptor = described.model_copy(update={"revision": newest + 1})
        if registered:
            register(node.path, dataset, file)
        elif dataset in NodeHome.open(node.path).config.data:
            raise InputInvalid(
                f"{dataset} is in use by this node, and core data may be used for nothing.",
                hint=f"Take it out first: fusion data remove {dataset}",
            )
        _keep_own(node, folder, descriptor)
    return Added(
        descriptor=descriptor,
        path=folder.file(descriptor.owner, dataset),
        registered=registered,
        findings=found,
    )


def look_at(descriptor: Descriptor, file: Path) -> tuple[Finding, ...]:
    """Return what in a file does not fit its description.

    Raises:
        DataInvalid: It can't be read, or a column of words is declared to hold numbers.
    """
    told = [c for c in descriptor.columns if c.key is not None or c.domain is not None]
    told += [c for c in descriptor.columns if c not in told and not c.nullable]
    names = [column.name for column in told if column.type != "other"]
    if not names:
        return ()
    return tuple(findings(descriptor, read_table(file, names, text=text_columns(told))))


def remove(node: NodeHome, dataset: str, *, clock: Clock | None = None) -> Descriptor:
    """Withdraw a dataset: engines no longer find it; return the descriptor that says so.

    Its file, its budgets and the grants on it stay where they are.

    Raises:
        InputInvalid: This node has no such dataset.
    """
    with node.lock():
        folder = folder_of(node)
        before = folder.get(f"{node.config.id}/{dataset}").descriptor
        now = timestamp((clock or SystemClock()).now())
        unregister(node.path, dataset)
        after = before.model_copy(
            update={"withdrawn": True, "revision": before.revision + 1, "issued": now}
        )
        _keep_own(node, folder, after)
    return after


def publish(node: NodeHome, dataset: str) -> SignedDescriptor:
    """Return a dataset's signed descriptor, as it goes to the hub; also of one withdrawn.

    One that was signed with a statement key of before is signed anew, as a newer revision.

    Raises:
        InputInvalid: This node has no such dataset.
        Refused: It is core data.
    """
    with node.lock():
        folder = folder_of(node)
        found = folder.known(node.config.id, dataset) if is_name(dataset) else None
        if found is None:
            raise InputInvalid(
                f"{node.config.id} has no dataset {dataset[:63]!r} that is described.",
                hint="`fusion data list` shows them; `fusion data add` describes one.",
            )
        check_published(found.descriptor)
        try:
            now = {node.config.id: node.public_keys().statement_key}
            return open_descriptor(found.envelope, now)
        except SignatureInvalid:
            before = found.descriptor
            after = before.model_copy(update={"revision": before.revision + 1})
            _keep_own(node, folder, after)
            return folder.verified(folder.file(after.owner, after.id).read_bytes())


def _keep_own(node: NodeHome, folder: CatalogueFolder, descriptor: Descriptor) -> None:
    path = folder.file(descriptor.owner, descriptor.id)
    make_folder(path.parent)
    write_atomic(path, sign_descriptor(descriptor, node.statement_key), 0o644)
