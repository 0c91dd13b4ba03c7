"""A node's parts of joint models: kept sealed, versioned, revoked.

::

    HOME/models/NAME/VERSION/facts.json     what is known of the model; no row of data
    HOME/models/NAME/VERSION/part.sealed    this party's part, sealed to the node's own key
    HOME/models/NAME/VERSION/revoked.json   there is one when the part may be used no more
    HOME/models/NAME/VERSION/heard.json     other holders that said that they revoked theirs

A version is there whole or not at all, and nothing in it is changed afterwards. Versions count from
1 by name; the same model is kept once.
"""

from __future__ import annotations

import hashlib
import re
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from fusion.crypto import rng
from fusion.errors import (
    EnvironmentUnfit,
    FusionError,
    InputInvalid,
    MessageInvalid,
    VerificationFailed,
)
from fusion.ledger import entry as entries
from fusion.services.clock import SystemClock, timestamp
from fusion.services.files import make_folder, read_file, write_atomic
from fusion.services.ledger import Book
from fusion.services.model_facts import (
    MAX_FACTS_BYTES,
    MAX_PART_BYTES,
    NAME_PATTERN,
    ModelFacts,
    facts_of,
)
from fusion.wire import canonical

if TYPE_CHECKING:
    from pathlib import Path

    from fusion.ports import Clock
    from fusion.services.homes import NodeHome

_CONTEXT: Final = b"banyan model 1, part "
_SHORTEST_PREFIX: Final = 8
_MAX_REVOKED_BYTES: Final = 4096
_MAX_HEARD_BYTES: Final = 16 * 1024


@dataclass(frozen=True, slots=True)
class KeptModel:
    """A version of a model at one of its holders.

    Attributes:
        facts: What is known of it.
        version: From 1.
        path: Its folder.
    """

    facts: ModelFacts
    version: int
    path: Path

    @property
    def id(self) -> str:
        """The model's identifier, the same at every holder."""
        return self.facts.id

    @property
    def name(self) -> str:
        """NAME/VERSION, as people call it."""
        return f"{self.facts.shared.name}/{self.version}"

    @property
    def role(self) -> str:
        """What this holder is: ``label`` or ``feature``."""
        return "label" if self.facts.own.label is not None else "feature"

    @property
    def revoked(self) -> bool:
        """Whether it may be used no more; that the file is there is enough."""
        return (self.path / "revoked.json").exists()

    @property
    def revocation(self) -> dict[str, Any] | None:
        """When and why it was revoked."""
        if not self.revoked:
            return None
        data = read_file(self.path / "revoked.json")
        found: dict[str, Any] = canonical.decode(data, _MAX_REVOKED_BYTES)
        return found

    @property
    def heard(self) -> dict[str, str]:
        """Other holders that said, to this node, that they revoked the model, and when it heard.

        A holder says so over a connection that its certificate has proved; it signs nothing.
        """
        if not (self.path / "heard.json").exists():
            return {}
        data = read_file(self.path / "heard.json")
        found: dict[str, str] = canonical.decode(data, _MAX_HEARD_BYTES)["heard"]
        return found

    @property
    def standing(self) -> str:
        """``revoked`` if this holder or, as far as it has heard, another one revoked it."""
        return "revoked" if self.revoked or self.heard else "kept"

    def part(self, node: NodeHome) -> bytes:
        """Return this party's part, opened.

        Raises:
            SealBroken: It was changed, or sealed to a key that is gone.
            VerificationFailed: It is not the part that the facts name.
            EnvironmentUnfit: The file can't be read.
        """
        part = node.open_sealed(read_file(self.path / "part.sealed"), _context(self.id))
        mine = self.facts.shared.holder(self.facts.own.organisation)
        if mine is None or hashlib.sha256(part).hexdigest() != mine.part:
            raise VerificationFailed(f"The part of {self.name} is not the one that was kept.")
        return part


def keep_part(node: NodeHome, facts: ModelFacts, part: bytes, *, clock: Clock | None = None) -> int:
    """Keep this party's part of a finished model, sealed; return its version.

    The same model again is the same version: a run that goes on after a crash may call it twice.

    Args:
        node: This party's folder.
        facts: Of the model and of this party; ``facts.shared`` is the same at all holders.
        part: This party's, as :mod:`federated.vertical.parts` writes it.
        clock: Time.

    Raises:
        InputInvalid: The part is too large, or not the one that the facts name for this node.
        EnvironmentUnfit: The folder can't be written.
    """
    own, shared = facts.own, facts.shared
    mine = shared.holder(own.organisation)
    if own.organisation != node.config.id or mine is None:
        raise InputInvalid(f"{node.config.id} holds no part of {shared.name}.")
    digest = hashlib.sha256(part).hexdigest()
    if digest != mine.part or not 0 < len(part) <= MAX_PART_BYTES:
        raise InputInvalid(
            f"The part of {shared.name} is not the one that its facts name, or is larger than "
            f"{MAX_PART_BYTES} bytes."
        )
    data = facts.canonical()
    facts_of(data)  # held to the rules between fields, and to the size
    sealed = node.sealing_key.public.seal(part, _context(facts.id))
    with node.lock(".models.lock"):
        version = _placed(node, facts, data, sealed)
    with Book(node, clock) as book:
        entry = entries.ModelKept(
            at=book.now(),
            job=shared.job,
            study=shared.study,
            model=facts.id,
            part=digest,
            number=version,
        )
        book.once(f"model-kept:{facts.id}", entry)
    return version


def _placed(node: NodeHome, facts: ModelFacts, data: bytes, sealed: bytes) -> int:
    """Put a version into its place, whole; the caller holds the lock."""
    folder = make_folder(node.path / "models")
    folder = make_folder(folder / facts.shared.name)
    versions = _versions(folder)
    for version in versions:
        kept = _readable(folder, version)
        if kept is not None and kept.id == facts.id:
            return version
    version = max(versions, default=0) + 1
    draft = make_folder(folder / f".{rng.token(6).hex()}")
    try:
        write_atomic(draft / "part.sealed", sealed)
        write_atomic(draft / "facts.json", data)
        draft.rename(folder / str(version))
    except OSError as error:
        raise EnvironmentUnfit(f"{folder} can't be written: {error.strerror}.") from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)  # is gone where all went well
    return version


def kept_models(node: NodeHome) -> list[KeptModel]:
    """Return every version of every model, by name and version.

    Raises:
        MessageInvalid: A file was changed into something else.
    """
    return [_open(folder, version) for folder, version in _places(node)]


def keeps_models(node: NodeHome) -> bool:
    """Return whether a node keeps a part of any model."""
    return bool(_places(node))


def _places(node: NodeHome) -> list[tuple[Path, int]]:
    return [
        (folder, version)
        for folder in sorted((node.path / "models").glob("*"))
        if re.fullmatch(NAME_PATTERN, folder.name)
        for version in _versions(folder)
    ]


def find_model(node: NodeHome, name: str) -> KeptModel:
    """Return the model of a name (its newest version), of NAME/VERSION, or of an id's beginning.

    Raises:
        InputInvalid: There is none, or more than one.
        MessageInvalid: A file was changed into something else.
    """
    stem, mark, number = name.partition("/")
    if re.fullmatch(NAME_PATTERN, stem):
        folder = node.path / "models" / stem
        versions = _versions(folder)
        if mark and re.fullmatch(r"[1-9]\d{0,8}", number):
            versions = [each for each in versions if each == int(number)]
        elif mark:
            versions = []
        if versions:
            return _open(folder, versions[-1])
    if re.fullmatch(rf"[0-9a-f]{{{_SHORTEST_PREFIX},64}}", name):
        found = [each for each in kept_models(node) if each.id.startswith(name)]
        if len(found) == 1:
            return found[0]
    raise InputInvalid(
        f"{name[:80]!r} names no model here.",
        hint="`fusion model list` shows them: NAME, NAME/VERSION, or eight digits of the id.",
    )


def model_of(node: NodeHome, model: str) -> KeptModel | None:
    """Return the model of a whole identifier, if this node keeps a part of it.

    A model whose facts were changed into something else is no other model's harm.
    """
    found = (_readable(folder, version) for folder, version in _places(node))
    return next((each for each in found if each is not None and each.id == model), None)


def revoke_model(
    node: NodeHome, kept: KeptModel, reason: str, *, clock: Clock | None = None
) -> None:
    """End the use of a part for good: nothing is scored with it any more; it is not deleted.

    Raises:
        InputInvalid: No reason is given.
    """
    if not 0 < len(reason) <= 200 or not reason.isprintable():
        raise InputInvalid("A revocation gives a reason of 1 to 200 printable characters.")
    now = timestamp((clock or SystemClock()).now())
    with node.lock(".models.lock"):
        if not kept.revoked:
            said = canonical.encode({"at": now, "model": kept.id, "reason": reason})
            write_atomic(kept.path / "revoked.json", said)
    with Book(node, clock) as book:
        entry = entries.ModelRevoked(at=book.now(), model=kept.id)
        book.once(f"model-revoked:{kept.id}", entry)


def hear_revoked(
    node: NodeHome, kept: KeptModel, organisation: str, *, clock: Clock | None = None
) -> None:
    """Keep, and log, that another holder said that it revoked the model; what was heard stays.

    Killed in between, it is logged when it is heard again.

    Raises:
        EnvironmentUnfit: It can't be written.
    """
    if kept.facts.shared.holder(organisation) is None:
        return
    with node.lock(".models.lock"):
        if organisation not in kept.heard:
            now = timestamp((clock or SystemClock()).now())
            said = {"model": kept.id, "heard": {**kept.heard, organisation: now}}
            write_atomic(kept.path / "heard.json", canonical.encode(said))
        with Book(node, clock) as book:
            entry = entries.ModelRevocationHeard(
                at=book.now(), model=kept.id, organisation=organisation
            )
            book.once(f"model-revocation-heard:{kept.id}:{organisation}", entry)


def _versions(folder: Path) -> list[int]:
    found = (each.name for each in folder.glob("*") if each.is_dir())
    return sorted(int(name) for name in found if re.fullmatch(r"[1-9]\d{0,8}", name))


def _open(folder: Path, version: int) -> KeptModel:
    path = folder / str(version)
    data = read_file(path / "facts.json")
    if len(data) > MAX_FACTS_BYTES:
        raise InputInvalid(f"{path} is no model.")
    try:
        return KeptModel(facts_of(data), version, path)
    except MessageInvalid as error:
        raise MessageInvalid(
            f"{path / 'facts.json'} is not what was kept: {error.message}",
            hint="Restore it from a backup.",
        ) from None


def _readable(folder: Path, version: int) -> KeptModel | None:
    """Return a model; None if it can't be read."""
    try:
        return _open(folder, version)
    except FusionError:
        return None


def _context(model: str) -> bytes:
    return _CONTEXT + model.encode()
