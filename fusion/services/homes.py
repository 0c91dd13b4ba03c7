"""The folders of a hub and of a node: which file is where, who may read it, how it is replaced.

::

    hub/                                      node/
      hub.toml                                  node.toml
      keys/authority.pem ca.pem server.pem      keys/statement.pem sealing.pem tls.pem fleet.pem
      keys/log.pem witness.pem                  keys/log.pem witness.pem
      ca.pem server.pem trust.json roster.json  request.csr ca.pem certificate.pem
      superlink/ca.pem certificate.pem key.pem  trust.json roster.json
      admitted/ID.pem  requests/SHA256.pem      paillier/  state.sqlite
      paillier/  runs/JOB/  superlink.sqlite    grants/ID.grant.json  budgets.sqlite
      ledger.sqlite  witness/                   ready.json  node.log
      grants/ID.grant.json                      .up.lock
      ready.json  hub.log  .up.lock

Folders are 0700 and files 0600. A file is replaced whole or not at all (:func:`write_atomic`).
"""

from __future__ import annotations

import fcntl
import json
import os
import tomllib
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fusion.crypto import rng
from fusion.errors import EnvironmentUnfit, InputInvalid
from fusion.identity import keys
from fusion.identity.roster import Roster, open_roster
from fusion.identity.trust import Address, Invitation, Trust, open_trust
from fusion.link.client import ClientCredentials
from fusion.wire.limits import MAX_NAME_CHARACTERS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from cryptography.hazmat.primitives.asymmetric import ec

    from fusion.crypto.sealing import SealingKey
    from fusion.crypto.signing import SigningKey

HUB_FILE: Final = "hub.toml"
NODE_FILE: Final = "node.toml"
DEFAULT_WORKER_USER: Final = "nobody"
DEFAULT_MIN_GROUP: Final = 3
"""Fewest organisations in a sum that a node takes part in, unless its owner says otherwise."""
_Identifier = Annotated[str, Field(min_length=1, max_length=63)]
_Name = Annotated[str, Field(max_length=MAX_NAME_CHARACTERS)]


def write_atomic(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Replace ``path`` durably: a reader sees the old file or the new one, also after a crash."""
    temporary = path.with_name(f".{path.name}.{rng.token(6).hex()}")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def make_folder(path: Path) -> Path:
    """Make a folder that nobody else may enter; return it."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    return path


def new_home(path: Path, marker: str, kind: str) -> Path:
    """Make the folder of a new hub or node; return its absolute path.

    Raises:
        InputInvalid: It holds something already.
        EnvironmentUnfit: It can't be made.
    """
    if (path / marker).exists():
        raise InputInvalid(
            f"{path} is a {kind} already.",
            hint="Go on with it, or name a new folder; its keys can't be made again.",
        )
    try:
        make_folder(path)
        used = any(path.iterdir())
    except (FileExistsError, NotADirectoryError):
        used = True
    except OSError as error:
        raise EnvironmentUnfit(f"{path} can't be made: {error.strerror}.") from error
    if used:
        raise InputInvalid(
            f"{path} is in use and is no {kind}.", hint="Name a new or an empty folder."
        )
    path.chmod(0o700)
    return path.resolve()


class HubConfig(BaseModel):
    """``hub.toml``.

    Attributes:
        federation: Identifier of the federation.
        name: For people.
        address: The one port, as nodes reach it.
        listen: What the hub binds to, when that is another address than nodes see.
    """

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")

    federation: _Identifier
    name: _Name = ""
    address: str
    listen: str

    @property
    def host(self) -> str:
        """The host of the address, as a URL has it."""
        return self.address.rpartition(":")[0]


class NodeConfig(BaseModel):
    """``node.toml``.

    Attributes:
        id: The organisation.
        name: For people.
        hub_url: Where the hub is.
        pin: SHA-256 of the authority's public key.
        min_group: Fewest organisations in a sum that this node takes part in.
        studies: Digests of the only studies it takes part in; empty for all.
        require_grants: Whether it takes part in nothing without a grant of its own that allows it.
        worker_user: Account that confined work runs as where the node runs as root; never root.
        data: Data set name to file, absolute.
    """

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")

    id: _Identifier
    name: _Name = ""
    hub_url: str
    pin: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    min_group: Annotated[int, Field(ge=2, le=1000)] = DEFAULT_MIN_GROUP
    studies: list[Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]] = Field(default_factory=list)
    require_grants: bool = True
    worker_user: Annotated[str, Field(pattern=r"^[a-z_][a-z0-9_-]{0,31}$")] = DEFAULT_WORKER_USER
    data: dict[str, Path] = Field(default_factory=dict)


_Config = TypeVar("_Config", HubConfig, NodeConfig)


class _Home:
    """What both folders have."""

    def __init__(self, path: Path) -> None:
        self.path: Final = path
        self.keys: Final = path / "keys"
        self.ca: Final = path / "ca.pem"
        self.trust_file: Final = path / "trust.json"
        self.roster_file: Final = path / "roster.json"
        self.paillier: Final = path / "paillier"
        self.grants: Final = path / "grants"
        self.ready: Final = path / "ready.json"
        self.log_key: Final = self.keys / "log.pem"
        self.witness_key: Final = self.keys / "witness.pem"

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keep other processes from changing the folder in the meantime."""
        with (self.path / ".lock").open("wb") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    @contextmanager
    def serving(self) -> Iterator[None]:
        """Be the one process that serves this folder; leave no ``ready.json`` behind.

        Raises:
            EnvironmentUnfit: Another process serves it; nothing of its was touched.
        """
        # Not the lock above: that one is held for moments, this one for as long as it is up. The
        # kernel lets go of it however the process ends.
        with (self.path / ".up.lock").open("wb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise EnvironmentUnfit(
                    f"{self.path} is up already.",
                    hint="One process serves a folder; `status` shows it. Stop that one first.",
                ) from None
            # Whoever wrote one before was killed: nobody may take it for ours.
            self.ready.unlink(missing_ok=True)
            try:
                yield
            finally:
                self.ready.unlink(missing_ok=True)


class HubHome(_Home):
    """The folder of a hub. Make one with :func:`fusion.services.hub.init`."""

    def __init__(self, path: Path, config: HubConfig) -> None:
        """Take a folder that was read; use :meth:`open`."""
        super().__init__(path)
        self.config: Final = config
        self.ca_key: Final = self.keys / "ca.pem"
        self.server_certificate: Final = path / "server.pem"
        self.server_key: Final = self.keys / "server.pem"
        self.superlink: Final = path / "superlink"
        self.superlink_ca: Final = self.superlink / "ca.pem"
        self.superlink_certificate: Final = self.superlink / "certificate.pem"
        self.superlink_key: Final = self.superlink / "key.pem"
        self.superlink_database: Final = path / "superlink.sqlite"
        self.admitted: Final = path / "admitted"
        self.requests: Final = path / "requests"
        self.runs: Final = path / "runs"
        self.log: Final = path / "hub.log"
        self.ledger: Final = path / "ledger.sqlite"
        self.witness: Final = path / "witness"
        self.witness_inbox: Final = self.witness / "inbox"
        self.requests_bell: Final = path / "requests.bell"
        self.replies_bell: Final = path / "replies.bell"

    @classmethod
    def open(cls, path: Path) -> HubHome:
        """Open the folder of a hub.

        Raises:
            InputInvalid: It is none, or its ``hub.toml`` is wrong.
        """
        config = _read_config(path / HUB_FILE, HubConfig, "hub")
        for address in (config.address, config.listen):
            Address.parse(address)
        return cls(path.resolve(), config)

    @property
    def address(self) -> Address:
        """The one port as nodes reach it."""
        return Address.parse(self.config.address)

    @property
    def listen(self) -> Address:
        """The one port as the hub binds it."""
        return Address.parse(self.config.listen)

    @property
    def authority_key(self) -> SigningKey:
        """The key that signs trust, roster and the hub's statements."""
        return keys.signing_from_pem(_read(self.keys / "authority.pem"))

    @property
    def invitation(self) -> Invitation:
        """What organisations are invited with."""
        return Invitation(self.address, keys.authority_pin(self.authority_key.public))

    def roster(self) -> Roster:
        """Return the current roster, verified."""
        return open_roster(_read(self.roster_file), self.authority_key.public)

    def run(self, job: str) -> Path:
        """Return the folder of a run; it need not exist.

        Raises:
            InputInvalid: The text can't be a job's identifier.
        """
        if not job or not all(c.isalnum() or c in "-_" for c in job):
            raise InputInvalid(f"{job[:80]!r} is not a job.")
        return self.runs / job


class NodeHome(_Home):
    """The folder of a node. Make one with :func:`fusion.services.node.init`."""

    def __init__(self, path: Path, config: NodeConfig) -> None:
        """Take a folder that was read; use :meth:`open`."""
        super().__init__(path)
        self.config: Final = config
        self.tls_key: Final = self.keys / "tls.pem"
        self.fleet_key: Final = self.keys / "fleet.pem"
        self.pins: Final = path / "pins.json"
        self.request: Final = path / "request.csr"
        self.certificate: Final = path / "certificate.pem"
        self.forward: Final = path / "forward"
        self.forward_ca: Final = self.forward / "ca.pem"
        self.state: Final = path / "state.sqlite"
        self.ledger: Final = self.state
        self.budgets: Final = path / "budgets.sqlite"
        self.log: Final = path / "node.log"

    @classmethod
    def open(cls, path: Path) -> NodeHome:
        """Open the folder of a node; relative data paths are taken from it.

        Raises:
            InputInvalid: It is none, or its ``node.toml`` is wrong.
        """
        home = path.resolve()
        config = _read_config(path / NODE_FILE, NodeConfig, "node")
        data = {name: home / file for name, file in config.data.items()}
        Invitation.parse(f"{config.hub_url}#{config.pin}")
        return cls(home, config.model_copy(update={"data": data}))

    @property
    def invitation(self) -> Invitation:
        """What the node was made with."""
        return Invitation.parse(f"{self.config.hub_url}#{self.config.pin}")

    @property
    def statement_key(self) -> SigningKey:
        """The key that signs this organisation's statements."""
        return keys.signing_from_pem(_read(self.keys / "statement.pem"))

    @property
    def sealing_key(self) -> SealingKey:
        """The key that opens what is sealed to this organisation."""
        return keys.sealing_from_pem(_read(self.keys / "sealing.pem"))

    def fleet_private_key(self) -> ec.EllipticCurvePrivateKey:
        """Return the key for Flower's fleet interface."""
        return keys.fleet_from_pem(_read(self.fleet_key))

    @property
    def enrolled(self) -> bool:
        """Whether the data authority has admitted this node and it has fetched the result."""
        files = (self.ca, self.certificate, self.trust_file, self.roster_file)
        return all(file.exists() for file in files)

    def credentials(self) -> ClientCredentials:
        """Return the files with which the node dials the hub."""
        return ClientCredentials(ca=self.ca, certificate=self.certificate, key=self.tls_key)

    def trust(self) -> Trust:
        """Return the trust document, verified against the pin."""
        return open_trust(_read(self.trust_file), self.config.pin)

    def roster(self) -> Roster:
        """Return the roster last fetched, verified."""
        return open_roster(_read(self.roster_file), self.trust().authority_key)


def open_home(path: Path) -> HubHome | NodeHome:
    """Open a folder that is a hub's or a node's.

    Raises:
        InputInvalid: It is neither.
    """
    if (path / HUB_FILE).exists():
        return HubHome.open(path)
    if (path / NODE_FILE).exists():
        return NodeHome.open(path)
    raise InputInvalid(
        f"{path} is neither a hub nor a node.",
        hint="Name the folder that `fusion hub init` or `fusion node init` made.",
    )


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise EnvironmentUnfit(
            f"{path} can't be read: {error.strerror}.",
            hint="Restore it from a backup, or check who owns it.",
        ) from error


def _read_config(path: Path, model: type[_Config], kind: str) -> _Config:
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        raise InputInvalid(
            f"{path.parent} is no {kind}: there is no readable {path.name} in it.",
            hint=f"Name the folder that `fusion {kind} init` made.",
        ) from None
    try:
        # Through JSON: strict validation reads a path from a string there, and only there.
        return model.model_validate_json(json.dumps(tomllib.loads(text)))
    except (tomllib.TOMLDecodeError, TypeError) as error:
        raise InputInvalid(f"{path} is not TOML: {error}.") from None
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise InputInvalid(f"{path}: {where}: {first['msg']}.") from None


def toml_text(values: Mapping[str, str | int | bool | list[str] | Mapping[str, str]]) -> bytes:
    """Return a TOML document of strings, integers, lists and tables of strings.

    JSON's strings are TOML's basic strings, but for DEL, which names may not contain.
    """
    lines = []
    tables = []
    for key, value in values.items():
        if isinstance(value, str | int):
            lines.append(f"{key} = {_quoted(value)}")
        elif isinstance(value, list):
            lines.append(f"{key} = [{', '.join(map(_quoted, value))}]")
        else:
            entries = [f"{_quoted(k)} = {_quoted(v)}" for k, v in value.items()]
            tables += ["", f"[{key}]", *entries]
    return ("\n".join([*lines, *tables]) + "\n").encode()


def readable_name(text: str) -> str:
    """Return a name for people, as it may stand in files and on screens.

    Raises:
        InputInvalid: Too long, or with control characters.
    """
    if len(text) > MAX_NAME_CHARACTERS or not text.isprintable():
        raise InputInvalid(
            "A name has control characters or is too long.",
            hint=f"Use at most {MAX_NAME_CHARACTERS} printable characters.",
        )
    return text


def _quoted(value: str | int) -> str:
    return json.dumps(value, ensure_ascii=False)
