"""The folders of a hub and of a node: which file is where, and how it is read.

::

    hub/                                      node/ (see organisations.py for its keys)
      hub.toml                                  node.toml  org.toml  public.json
      keys/authority.pem ca.pem server.pem      keys/
      keys/log.pem witness.pem                  request.csr  org-ca.pem  rotation.json
      authority.pub ca.pem server.pem           ca.pem trust.json
      trust.json roster.json rosters/N.json     roster.json rosters/N.json pins.json
      superlink/ca.pem certificate.pem key.pem  paillier/  state.sqlite
      paillier/  runs/JOB/  superlink.sqlite    ready.json  node.log
      ledger.sqlite  witness/                   .up.lock
      grants/ID.grant.json                      catalogue/OWNER/ID.dataset.json
      catalogue/OWNER/ID.dataset.json
      ready.json  hub.log  .up.lock
"""

from __future__ import annotations

import fcntl
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final
from urllib.parse import parse_qs, urlsplit

from pydantic import BaseModel, ConfigDict, Field

from fusion.crypto.signing import VerifyKey
from fusion.errors import EnvironmentUnfit, InputInvalid, VerificationFailed
from fusion.identity import keys
from fusion.identity.roster import Roster, open_roster
from fusion.identity.trust import Address, Invitation, Trust, open_trust
from fusion.services.files import (
    Folder,
    make_folder,
    read_config,
    read_file,
    unwritable,
    write_atomic,
)
from fusion.services.key_folder import KeyFolder
from fusion.services.organisations import OrgHome
from fusion.stores.sql import Postgres
from fusion.wire.limits import MAX_NAME_CHARACTERS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fusion.crypto.signing import SigningKey

HUB_FILE: Final = "hub.toml"
NODE_FILE: Final = "node.toml"
DEFAULT_WORKER_USER: Final = "nobody"
DEFAULT_MIN_GROUP: Final = 3
"""Fewest organisations in a sum that a node takes part in, unless its owner says otherwise."""
_Identifier = Annotated[str, Field(min_length=1, max_length=63)]
_Name = Annotated[str, Field(max_length=MAX_NAME_CHARACTERS)]


class HubConfig(BaseModel):
    """``hub.toml``.

    Attributes:
        federation: Identifier of the federation.
        name: For people.
        address: The one port, as nodes reach it.
        listen: What the hub binds to, when that is another address than nodes see.
        database: ``postgresql://...`` for the log in PostgreSQL; empty for SQLite in the folder.
        database_password: File with that database's password.
    """

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")

    federation: _Identifier
    name: _Name = ""
    address: str
    listen: str
    database: str = ""
    database_password: str = ""

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
        witnesses: How many of a study's organisations have to have cosigned the hub's log before
            this node decrypts a sum; 0 for more than half of them.
        studies: Digests of the only studies it takes part in; empty for all.
        database: ``postgresql://...`` for log, rounds and budgets in PostgreSQL; empty for SQLite
            in the folder.
        database_password: File with that database's password.
        require_grants: Whether it takes part in nothing without a grant of its own that allows it.
        worker_user: Account that confined work runs as where the node runs as root; never root.
        rr22_python: Absolute path of a Python that has spu: this node takes part in alignments by
            RR22; empty if it does not.
        rr22_parties: Organisations with whom it does; nobody unless they are named.
        data: Data set name to file, absolute.
    """

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")

    id: _Identifier
    name: _Name = ""
    hub_url: str
    pin: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    min_group: Annotated[int, Field(ge=2, le=1000)] = DEFAULT_MIN_GROUP
    witnesses: Annotated[int, Field(ge=0, le=1000)] = 0
    studies: list[Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]] = Field(default_factory=list)
    database: str = ""
    database_password: str = ""
    require_grants: bool = True
    worker_user: Annotated[str, Field(pattern=r"^[a-z_][a-z0-9_-]{0,31}$")] = DEFAULT_WORKER_USER
    rr22_python: Annotated[str, Field(pattern=r"^(?:/.{1,4000})?$")] = ""
    rr22_parties: list[_Identifier] = Field(default_factory=list)
    data: dict[str, Path] = Field(default_factory=dict)


class _Home(Folder):
    """What both folders have."""

    def __init__(self, path: Path, config: HubConfig | NodeConfig) -> None:
        super().__init__(path)
        self.database: Final = _database(path, config)
        self.ca: Final = path / "ca.pem"
        self.trust_file: Final = path / "trust.json"
        self.roster_file: Final = path / "roster.json"
        self.rosters: Final = path / "rosters"
        self.paillier: Final = path / "paillier"
        self.grants: Final = path / "grants"
        self.catalogue: Final = path / "catalogue"
        self.ready: Final = path / "ready.json"

    def keep_epoch(self, roster: Roster, data: bytes) -> None:
        """Make a signed roster the current one; every epoch is kept, under its number."""
        make_folder(self.rosters)
        write_atomic(self.rosters / f"{roster.epoch}.json", data)
        write_atomic(self.roster_file, data)

    def epochs(self, authority: VerifyKey) -> list[Roster]:
        """Return every epoch that is kept here, verified, oldest first.

        Raises:
            VerificationFailed: One is not signed by the authority, or not well formed.
        """
        files = sorted(self.rosters.glob("*.json"), key=lambda file: int(file.stem))
        found = [open_roster(read_file(file), authority) for file in files]
        for file, roster in zip(files, found, strict=True):
            if roster.epoch != int(file.stem):
                raise VerificationFailed(f"{file} is of epoch {roster.epoch}.")
        return found

    @contextmanager
    def serving(self) -> Iterator[None]:
        """Be the one process that serves this folder; leave no ``ready.json`` behind.

        Raises:
            EnvironmentUnfit: Another process serves it; nothing of its was touched.
        """
        # Not the lock above: that one is held for moments, this one for as long as it is up. The
        # kernel lets go of it however the process ends.
        path = self.path / ".up.lock"
        try:
            file = path.open("wb")
        except OSError as error:
            raise unwritable(path, error) from error
        with file:
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

    def __init__(self, path: Path, config: HubConfig, passphrase: bytes | None = None) -> None:
        """Take a folder that was read; use :meth:`open`."""
        super().__init__(path, config)
        self.config: Final = config
        self.key_folder: Final = KeyFolder(self.keys, passphrase)
        self.authority_file: Final = path / "authority.pub"
        self.server_certificate: Final = path / "server.pem"
        self.server_key: Final = self.keys / "server.pem"
        self.superlink: Final = path / "superlink"
        self.superlink_ca: Final = self.superlink / "ca.pem"
        self.superlink_certificate: Final = self.superlink / "certificate.pem"
        self.superlink_key: Final = self.superlink / "key.pem"
        self.superlink_database: Final = path / "superlink.sqlite"
        self.runs: Final = path / "runs"
        self.log: Final = path / "hub.log"
        self.ledger: Final = path / "ledger.sqlite"
        self.witness: Final = path / "witness"
        self.witness_inbox: Final = self.witness / "inbox"
        self.requests_bell: Final = path / "requests.bell"
        self.replies_bell: Final = path / "replies.bell"
        self.restarts_bell: Final = path / "restarts.bell"

    @classmethod
    def open(cls, path: Path) -> HubHome:
        """Open the folder of a hub.

        Raises:
            InputInvalid: It is none, or its ``hub.toml`` is wrong.
        """
        config = read_config(path / HUB_FILE, HubConfig, "hub")
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
        return self.key_folder.signing("authority")

    @property
    def authority_public(self) -> VerifyKey:
        """The public half of the authority's key, for which no passphrase is needed."""
        return VerifyKey.from_hex(read_file(self.authority_file).decode("ascii", "replace").strip())

    def server_key_pem(self) -> bytes:
        """Return the private key of the hub's server certificate, not encrypted.

        For TLS libraries that take it from memory; it must not be written anywhere.
        """
        return keys.tls_pem(self.key_folder.tls("server"))

    @property
    def invitation(self) -> Invitation:
        """What organisations are invited with."""
        return Invitation(self.address, keys.authority_pin(self.authority_public))

    def roster(self) -> Roster:
        """Return the current roster, verified."""
        return open_roster(read_file(self.roster_file), self.authority_public)

    def run(self, job: str) -> Path:
        """Return the folder of a run; it need not exist.

        Raises:
            InputInvalid: The text can't be a job's identifier.
        """
        if not job or not all(c.isalnum() or c in "-_" for c in job):
            raise InputInvalid(f"{job[:80]!r} is not a job.")
        return self.runs / job


class NodeHome(_Home, OrgHome):
    """The folder of a node. Make one with :func:`fusion.services.node.init`."""

    def __init__(self, path: Path, config: NodeConfig, passphrase: bytes | None = None) -> None:
        """Take a folder that was read; use :meth:`open`."""
        # In this order: the first also runs the second's, without the passphrase.
        _Home.__init__(self, path, config)
        OrgHome.__init__(self, path, passphrase)
        self.config: Final = config
        self.pins: Final = path / "pins.json"
        self.forward: Final = path / "forward"
        self.forward_ca: Final = self.forward / "ca.pem"
        self.state: Final = path / "state.sqlite"
        self.ledger: Final = self.state
        self.budgets: Final = self.state
        self.log: Final = path / "node.log"
        self._verified: tuple[bytes, bytes, Roster] | None = None

    @classmethod
    def open(cls, path: Path) -> NodeHome:
        """Open the folder of a node; relative data paths are taken from it.

        Raises:
            InputInvalid: It is none, or its ``node.toml`` is wrong.
        """
        home = path.resolve()
        config = read_config(path / NODE_FILE, NodeConfig, "node")
        data = {name: home / file for name, file in config.data.items()}
        Invitation.parse(f"{config.hub_url}#{config.pin}")
        return cls(home, config.model_copy(update={"data": data}))

    @property
    def invitation(self) -> Invitation:
        """What the node was made with."""
        return Invitation.parse(f"{self.config.hub_url}#{self.config.pin}")

    @property
    def enrolled(self) -> bool:
        """Whether the data authority has admitted this node and it has fetched the result."""
        files = (self.ca, self.trust_file, self.roster_file)
        return all(file.exists() for file in files)

    def trust(self) -> Trust:
        """Return the trust document, verified against the pin."""
        return open_trust(read_file(self.trust_file), self.config.pin)

    def roster(self) -> Roster:
        """Return the roster last fetched, verified; the same bytes are verified once."""
        trust, data = read_file(self.trust_file), read_file(self.roster_file)
        known = self._verified
        if known is None or known[:2] != (trust, data):
            roster = open_roster(data, open_trust(trust, self.config.pin).authority_key)
            self._verified = known = (trust, data, roster)
        return known[2]


def _database(path: Path, config: HubConfig | NodeConfig) -> Postgres | None:
    """Return the PostgreSQL database that a folder names, if it does.

    Raises:
        InputInvalid: It is no such URL, or has a password in it.
    """
    if not config.database:
        return None
    parts = urlsplit(config.database)
    secret = parts.password is not None or "password" in parse_qs(parts.query)
    if parts.scheme != "postgresql" or secret:
        raise InputInvalid(
            f"`database` of {path} has to be postgresql://USER@HOST/NAME, without a password.",
            hint="Put the password into a file, and name that as `database_password`.",
        )
    password = path / config.database_password if config.database_password else None
    return Postgres(url=config.database, password=password)


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
