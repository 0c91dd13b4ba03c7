"""An organisation's folder: its keys, its CA, its request for admission; made without a hub.

::

    DIR/
      org.toml                 identifier and name
      public.json              the public half of all keys, as they are now
      request.csr              asks for admission
      org-ca.pem               the certificate of its own CA
      keys/statement.pem sealing.pem fleet.pem log.pem witness.pem org-ca.pem
      keys/leaf.pem            the node's certificate of the day, with its key
      keys/next/  keys/old/N/  keys to come, and those that were replaced
      rotation.json            asks for the keys to come, until it is granted

A node is such a folder with a hub, data and state beside the keys.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fusion.crypto.sealing import SealingKey
from fusion.crypto.signing import SigningKey
from fusion.errors import InputInvalid, KeyRefused, MessageInvalid, SealBroken
from fusion.identity import certificates
from fusion.identity.keys import fleet_header, new_fleet_key, new_tls_key
from fusion.identity.members import KeysModel, PublicKeys, member_id, read_keys
from fusion.identity.request import make_request
from fusion.services import passphrases
from fusion.services.clock import SystemClock
from fusion.services.files import (
    Folder,
    make_folder,
    new_home,
    read_config,
    read_file,
    readable_name,
    toml_text,
    write_atomic,
)
from fusion.services.key_folder import KeyFolder
from fusion.wire import canonical
from fusion.wire.limits import MAX_NAME_CHARACTERS, MAX_REQUEST_BYTES

if TYPE_CHECKING:
    from pathlib import Path

    from cryptography.hazmat.primitives.asymmetric import ec

    from fusion.ports import Clock
    from fusion.types import OrgId

ORG_FILE: Final = "org.toml"
_SCHEMA: Final = "fusion.public-keys/1"


class OrgConfig(BaseModel):
    """``org.toml``.

    Attributes:
        id: The organisation's identifier.
        name: For people.
    """

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")

    id: Annotated[str, Field(min_length=1, max_length=63)]
    name: Annotated[str, Field(max_length=MAX_NAME_CHARACTERS)] = ""


class _PublicModel(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")

    schema_: Literal["fusion.public-keys/1"] = Field(alias="schema")
    keys: KeysModel


class OrgHome(Folder):
    """The folder of an organisation. Make one with :func:`init`."""

    def __init__(self, path: Path, passphrase: bytes | None = None) -> None:
        """Take a folder; use :meth:`open_org`."""
        super().__init__(path)
        self.key_folder: Final = KeyFolder(self.keys, passphrase)
        self.org_file: Final = path / ORG_FILE
        self.public_file: Final = path / "public.json"
        self.request: Final = path / "request.csr"
        self.org_ca: Final = path / "org-ca.pem"
        self.leaf: Final = self.keys / "leaf.pem"
        self.rotation: Final = path / "rotation.json"

    @classmethod
    def open_org(cls, path: Path) -> OrgHome:
        """Open the folder of an organisation, a node's included.

        Raises:
            InputInvalid: It is none.
        """
        home = OrgHome(path.resolve())
        home.org_config()
        return home

    def org_config(self) -> OrgConfig:
        """Return who the organisation is.

        Raises:
            InputInvalid: The folder is no organisation's, or its ``org.toml`` is wrong.
        """
        return read_config(self.org_file, OrgConfig, "org")

    @property
    def statement_key(self) -> SigningKey:
        """The key that signs this organisation's statements."""
        return self.key_folder.signing("statement")

    @property
    def sealing_key(self) -> SealingKey:
        """The key that opens what is sealed to this organisation now."""
        return self.key_folder.sealing("sealing")

    def fleet_private_key(self) -> ec.EllipticCurvePrivateKey:
        """Return the key for Flower's fleet interface."""
        return self.key_folder.fleet("fleet")

    def open_sealed(self, sealed: bytes, context: bytes) -> bytes:
        """Open what was sealed to this organisation, under its key of now or one before.

        Raises:
            SealBroken: It was sealed to somebody else, for another purpose, or was changed.
        """
        for key in self.key_folder.old_sealing("sealing"):
            with suppress(SealBroken):
                return key.open(sealed, context)
        return self.sealing_key.open(sealed, context)

    def issuer(self) -> certificates.Issuer:
        """Return the organisation's own CA.

        Raises:
            EnvironmentUnfit: A file can't be read.
            KeyRefused: The passphrase is wrong.
            VerificationFailed: Certificate and key do not belong together.
        """
        certificate = certificates.from_pem(read_file(self.org_ca))
        return certificates.Issuer(certificate, self.key_folder.tls("org-ca"))

    def public_keys(self) -> PublicKeys:
        """Return the public half of all keys, as they are now.

        Raises:
            EnvironmentUnfit: The file can't be read.
            MessageInvalid: It is not well formed.
        """
        document = canonical.decode(read_file(self.public_file), MAX_REQUEST_BYTES)
        try:
            found = _PublicModel.model_validate(document)
            return read_keys(found.keys.model_dump(), self.org_config().id)
        except (ValidationError, KeyRefused):
            raise MessageInvalid(f"{self.public_file} is not well formed.") from None

    def write_public(self, keys: PublicKeys) -> None:
        """Keep the public half of all keys."""
        document = {"schema": _SCHEMA, "keys": keys.to_json()}
        write_atomic(self.public_file, canonical.encode(document), 0o644)


def init(
    path: Path,
    org: str,
    name: str = "",
    *,
    passphrase: bytes | None = None,
    clock: Clock | None = None,
) -> OrgHome:
    """Make an organisation: its keys, its CA, its request for admission.

    Args:
        path: A new or empty folder.
        org: Its identifier.
        name: For people.
        passphrase: Encrypts its private keys; None leaves them readable.
        clock: Time.

    Raises:
        InputInvalid: The folder is in use, or an argument is not what it should be.
        EnvironmentUnfit: The folder can't be made.
    """
    organisation = member_id(org)
    config = OrgConfig(id=organisation, name=readable_name(name))
    home = OrgHome(new_home(path, ORG_FILE, "organisation"), passphrase)
    make_keys(home, organisation, config.name, (clock or SystemClock()))
    # Last: with this file the folder is an organisation's.
    write_atomic(home.org_file, toml_text(config.model_dump()))
    return home


def make_keys(home: OrgHome, organisation: OrgId, name: str, clock: Clock) -> None:
    """Make all keys of an organisation and its request."""
    make_folder(home.keys)
    statement, sealing = SigningKey.generate(), SealingKey.generate()
    log, witness = SigningKey.generate(), SigningKey.generate()
    fleet, authority = new_fleet_key(), new_tls_key()
    certificate = certificates.new_organisation_ca(organisation, authority, clock.now())
    made: dict[str, SigningKey | SealingKey | ec.EllipticCurvePrivateKey] = {
        "statement": statement,
        "sealing": sealing,
        "fleet": fleet,
        "log": log,
        "witness": witness,
        "org-ca": authority,
    }
    for file, key in made.items():
        home.key_folder.write(file, key)
    keys = PublicKeys(
        statement_key=statement.public,
        sealing_key=sealing.public,
        fleet_key=fleet_header(fleet.public_key()),
        log_key=log.public,
        witness_key=witness.public,
        ca=certificates.der(certificate),
    )
    write_atomic(home.org_ca, certificates.pem(certificate), 0o644)
    home.write_public(keys)
    request = make_request(organisation, name, keys, statement=statement, authority=authority)
    write_atomic(home.request, request, 0o644)


def change_passphrase(folder: Path, new_file: Path | None, *, unencrypted: bool) -> int:
    """Encrypt the private keys of a folder under another passphrase; return how many there are.

    The old passphrase comes from where it always does, the new one from a file or a person.

    Raises:
        InputInvalid: The folder has no keys, or the new passphrase is not usable or declined.
        KeyRefused: The old passphrase is wrong.
        EnvironmentUnfit: A passphrase is needed, and nobody is there to say it.
    """
    keys = KeyFolder(folder.resolve() / "keys")
    if not keys.files():
        raise InputInvalid(f"There are no private keys in {folder}.")
    if unencrypted and new_file is not None:
        raise InputInvalid("--no-passphrase and a file with one exclude each other.")
    old = keys.passphrase
    new = (
        None
        if unencrypted
        else (passphrases.read(new_file) if new_file is not None else passphrases.typed_twice())
    )
    with Folder(folder.resolve()).lock():
        return keys.change_passphrase(old, new)


def describe(home: OrgHome) -> dict[str, Any]:
    """Return what an organisation may show of itself: nothing secret.

    Raises:
        EnvironmentUnfit: A file can't be read.
        VerificationFailed: One is not well formed.
    """
    config, keys = home.org_config(), home.public_keys()
    ca = certificates.from_der(keys.ca)
    leaf = certificates.from_pem(read_file(home.leaf)) if home.leaf.exists() else None
    return {
        "id": config.id,
        "name": config.name,
        "folder": str(home.path),
        "request": str(home.request),
        "encrypted": home.key_folder.encrypted,
        "keys": keys.to_json(),
        "digest": keys.digest(),
        "ca_until": f"{ca.not_valid_after_utc:%Y-%m-%dT%H:%M:%SZ}",
        "leaf_until": None if leaf is None else f"{leaf.not_valid_after_utc:%Y-%m-%dT%H:%M:%SZ}",
        "rotation": str(home.rotation) if home.rotation.exists() else None,
    }
