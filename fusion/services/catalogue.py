"""The descriptors that the folder of a node or a hub knows, and how they travel between them.

::

    HOME/catalogue/OWNER/ID.dataset.json    the newest descriptor known here, signed by its owner

A file is verified before it is kept, and again whenever it is read. Only descriptors leave a node:
:func:`deliver` takes one in at the hub, :func:`collected` is what the hub tells everyone,
:func:`accept` takes that in at a node. An owner's own verbs are in :mod:`fusion.services.datasets`.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from fusion.catalogue import signing
from fusion.catalogue.signing import SignedDescriptor, open_descriptor
from fusion.errors import (
    EnvironmentUnfit,
    FusionError,
    InputInvalid,
    Refused,
    SignatureInvalid,
    VerificationFailed,
)
from fusion.services.files import make_folder, write_atomic
from fusion.services.homes import HubHome, NodeHome
from fusion.wire import envelope

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from fusion.crypto.signing import VerifyKey
    from fusion.link.dial import Link

    Home = HubHome | NodeHome
    Keys = Mapping[str, Sequence[VerifyKey]]

SUFFIX: Final = ".dataset.json"
CATALOGUE: Final = "catalogue"
"""The document, the box and the bell at the hub's port."""


def _silent(_: str) -> None:
    """Tell nobody."""


@dataclass(slots=True)
class Taken:
    """What became of a catalogue that came in.

    Attributes:
        new: Datasets that are new here, or newer.
        kept: Datasets that were known as they are, or newer.
        left_out: Datasets that were not taken, each with the reason.
    """

    new: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    left_out: list[tuple[str, str]] = field(default_factory=list)


class CatalogueFolder:
    """The descriptors that a folder knows."""

    def __init__(self, path: Path, keys: Callable[[], Keys]) -> None:
        """Name the folder; it is made when something is kept in it.

        Args:
            path: The folder.
            keys: Returns the statement keys of those who may own a dataset, the newest first.
        """
        self.path = path
        self._keys = keys

    def frozen(self) -> CatalogueFolder:
        """Return the folder with the keys as they are now: for many descriptors at once."""
        keys = self._keys()
        return CatalogueFolder(self.path, lambda: keys)

    def all(
        self, *, withdrawn: bool = False, note: Callable[[str], None] = _silent
    ) -> list[SignedDescriptor]:
        """Return every descriptor that verifies, by owner and name; say which do not.

        Args:
            withdrawn: Whether those that were withdrawn are among them.
            note: Told of each that does not verify.
        """
        keys, found = self._keys(), []
        for path in sorted(self.path.glob(f"*/*{SUFFIX}")):
            try:
                signed = self._open(path, keys)
            except (VerificationFailed, EnvironmentUnfit) as error:
                note(f"{path.parent.name}/{path.name} is left out: {error.message}")
                continue
            if withdrawn or not signed.descriptor.withdrawn:
                found.append(signed)
        return found

    def known(self, owner: str, dataset: str) -> SignedDescriptor | None:
        """Return the descriptor of a dataset, if there is one here.

        Raises:
            VerificationFailed: It is not its owner's.
            EnvironmentUnfit: It can't be read.
        """
        path = self.file(owner, dataset)
        return self._open(path, self._keys()) if path.exists() else None

    def believed(self, owner: str, dataset: str) -> SignedDescriptor | None:
        """Return the descriptor of a dataset if there is one that verifies, as under keys of now.

        Raises:
            EnvironmentUnfit: It can't be read.
        """
        with suppress(VerificationFailed):
            return self.known(owner, dataset)
        return None

    def get(self, name: str, owner: str = "") -> SignedDescriptor:
        """Return a dataset that is offered, by ``OWNER/ID``, or by ID where that is enough.

        Args:
            name: As the user wrote it.
            owner: Whose it is if the name does not say.

        Raises:
            InputInvalid: There is none of that name, or more than one.
        """
        matching = [
            signed
            for signed in self.all()
            if name in {signed.descriptor.name, signed.descriptor.id}
        ]
        own = [signed for signed in matching if signed.descriptor.owner == owner]
        found = own if own and "/" not in name else matching
        if len(found) != 1:
            raise InputInvalid(
                f"{name[:127]!r} names {'no' if not found else 'more than one'} dataset here.",
                hint="`fusion data list` shows them, as OWNER/ID.",
            )
        return found[0]

    def take(self, data: bytes) -> tuple[SignedDescriptor, bool]:
        """Verify a descriptor and keep it if it is new; the folder is locked.

        Returns:
            The descriptor, and whether it was new.

        Raises:
            VerificationFailed: It is not its owner's, or differs from one of the same revision.
            Refused: It is older than the one known here, or about core data.
        """
        offered = self.verified(data)
        found = offered.descriptor
        if not signing.check_newer(self.believed(found.owner, found.id), offered):
            return offered, False
        path = self.file(found.owner, found.id)
        # One by one: of a folder made on the way nobody sets the mode.
        make_folder(path.parent.parent)
        make_folder(path.parent)
        write_atomic(path, data, 0o644)
        return offered, True

    def verified(self, data: bytes) -> SignedDescriptor:
        """Verify a descriptor and return it without keeping it.

        Raises:
            VerificationFailed: It is not its owner's.
        """
        return _opened(data, self._keys())

    def file(self, owner: str, dataset: str) -> Path:
        """Return where a dataset's descriptor lies."""
        return self.path / owner / f"{dataset}{SUFFIX}"

    def _open(self, path: Path, keys: Keys) -> SignedDescriptor:
        try:
            data = path.read_bytes()
        except OSError as error:
            raise EnvironmentUnfit(f"{path} can't be read: {error.strerror}.") from error
        signed = _opened(data, keys)
        if path != self.file(signed.descriptor.owner, signed.descriptor.id):
            raise VerificationFailed(f"{path} holds another descriptor than its name says.")
        return signed


def _opened(data: bytes, keys: Keys) -> SignedDescriptor:
    """Verify a descriptor with the keys of whom it says it is by."""
    signer = envelope.signer(data, signing.MAX_SIGNED_BYTES)
    own = keys.get(signer, ())
    for older in own[1:]:
        with suppress(SignatureInvalid):
            return open_descriptor(data, {signer: older})
    return open_descriptor(data, {signer: own[0]} if own else {})


def folder_of(home: Home) -> CatalogueFolder:
    """Return the catalogue of a hub or a node.

    A node knows its own data before it is admitted, and under statement keys that it had before:
    what it signs anew it publishes anew. Of others only the key of now counts.
    """

    def keys() -> Keys:
        enrolled = isinstance(home, HubHome) or home.enrolled
        known = home.roster().statement_keys() if enrolled else {}
        members: Keys = {name: (key,) for name, key in known.items()}
        if isinstance(home, HubHome):
            return members
        return {**members, home.config.id: own_keys(home)}

    return CatalogueFolder(home.catalogue, keys)


def own_keys(node: NodeHome) -> tuple[VerifyKey, ...]:
    """Return a node's statement keys: that of now, then those of the rosters it has kept."""
    now = node.public_keys().statement_key
    if not node.enrolled:
        return (now,)
    earlier = [
        member.statement_key
        for roster in reversed(node.epochs(node.trust().authority_key))
        for member in roster.members
        if member.id == node.config.id
    ]
    return tuple(dict.fromkeys([now, *earlier]))


def is_name(dataset: str) -> bool:
    """Return whether a text may be part of a file's name here; the descriptor checks the rest."""
    return "/" not in dataset and dataset not in {"", ".", ".."} and "\0" not in dataset


def check_usable(node: NodeHome, dataset: str) -> None:
    """Return if engines may use a dataset of this node, as far as its level goes.

    Raises:
        Refused: It is described as core data.
        VerificationFailed: Its descriptor is not this node's.
    """
    known = folder_of(node).known(node.config.id, dataset) if is_name(dataset) else None
    if known is not None and known.descriptor.level == "core":
        raise Refused(
            f"{dataset} is core data, which may be used for nothing here.",
            hint="Take it out of node.toml; see docs/catalogue.md on levels.",
        )


# ------------------------------------------------------------------------- between hub and nodes


def deliver(hub: HubHome, member_id: str, data: bytes) -> SignedDescriptor:
    """Take in a member's signed descriptor at the hub.

    Args:
        hub: The hub's folder.
        member_id: Who hands it in, as the connection has proved.
        data: The envelope.

    Raises:
        Refused: It is another organisation's, older than the one known, about core data, or one
            too many.
        VerificationFailed: It does not verify, or differs from one of the same revision.
    """
    with hub.lock():
        folder = folder_of(hub).frozen()
        offered = folder.verified(data).descriptor
        if offered.owner != member_id:
            raise Refused(f"{member_id} hands in a descriptor of {offered.owner}.")
        signing.check_published(offered)
        sizes = [
            path.stat().st_size
            for path in folder.path.glob(f"*/*{SUFFIX}")
            if path != folder.file(offered.owner, offered.id)
        ]
        count = len(list(folder.path.glob(f"{offered.owner}/*{SUFFIX}")))
        new = not folder.file(offered.owner, offered.id).exists()
        if new and count >= signing.MAX_DATASETS_A_MEMBER:
            raise Refused(f"{offered.owner} has {count} datasets, which is the most.")
        if signing.collected_size([*sizes, len(data)]) > signing.MAX_COLLECTION_BYTES:
            raise Refused(
                "The federation's catalogue is full.", hint="Shorten descriptors, or withdraw some."
            )
        return folder.take(data)[0]


def collected(hub: HubHome) -> bytes:
    """Return the federation's catalogue as one document: every member's signed descriptors.

    Those withdrawn are in it, so that everyone learns of it. At most
    :data:`fusion.catalogue.signing.MAX_COLLECTION_BYTES`.
    """
    return signing.collection(signed.envelope for signed in folder_of(hub).all(withdrawn=True))


def accept(node: NodeHome, data: bytes) -> Taken:
    """Take in the federation's catalogue at a node; one bad descriptor keeps no other from it.

    What is older than what is known here is not taken; a hub can be behind, or go back.

    Raises:
        MessageInvalid: It is no catalogue.
    """
    envelopes = signing.descriptors_in(data)
    taken = Taken()
    with node.lock():
        folder = folder_of(node).frozen()
        for each in envelopes:
            _accept_one(node, folder, each, taken)
    return taken


def fetch(node: NodeHome, link: Link) -> Taken:
    """Fetch the federation's catalogue and take it in.

    Raises:
        PartyUnreachable: The hub does not answer.
        MessageInvalid: What it sends is no catalogue.
    """
    data = link.read(CATALOGUE, signing.MAX_COLLECTION_BYTES)
    return Taken() if data is None else accept(node, data)


def _accept_one(node: NodeHome, folder: CatalogueFolder, data: bytes, taken: Taken) -> None:
    try:
        offered = folder.verified(data).descriptor
        signing.check_published(offered)
        known = folder.believed(offered.owner, offered.id)
        newest = 0 if known is None else known.descriptor.revision
        # Ours: what is older is no news; what is newer we have lost, and signed ourselves.
        if offered.owner == node.config.id and newest >= offered.revision:
            taken.kept.append(offered.name)
            return
        signed, new = folder.take(data)
    except FusionError as error:
        taken.left_out.append((_claimed(data), error.message))
        return
    (taken.new if new else taken.kept).append(signed.descriptor.name)


def _claimed(data: bytes) -> str:
    """Return who is said to have signed something, for a message."""
    try:
        return envelope.signer(data, signing.MAX_SIGNED_BYTES)[:63]
    except VerificationFailed:
        return "somebody"


def take_file(home: Home, data: bytes) -> Taken:
    """Take in a file: one signed descriptor, or at a node the federation's catalogue.

    Raises:
        InputInvalid: A whole catalogue is given to a hub.
        Refused: A descriptor is older than the one known here, or about core data.
        VerificationFailed: It does not verify.
    """
    if signing.is_collection(data):
        if isinstance(home, HubHome):
            raise InputInvalid(
                "A hub takes in one descriptor at a time.", hint="Name the members' own files."
            )
        return accept(home, data)
    if isinstance(home, HubHome):
        signed = deliver(home, envelope.signer(data, signing.MAX_SIGNED_BYTES), data)
        return Taken(new=[signed.descriptor.name])
    taken = accept(home, signing.collection([data]))
    if taken.left_out:
        raise VerificationFailed(taken.left_out[0][1])
    return taken
