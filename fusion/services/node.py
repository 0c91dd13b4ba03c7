"""An organisation's verbs: make a node, with its keys and its request; forward to the hub."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from fusion.crypto.sealing import SealingKey
from fusion.crypto.signing import SigningKey
from fusion.errors import InputInvalid
from fusion.identity import certificates, keys
from fusion.identity.request import make_request
from fusion.identity.roster import member_id
from fusion.identity.trust import Invitation
from fusion.link.client import hub_ssl_context
from fusion.link.forward import HOST, ForwardConfig, Forwarder
from fusion.services.clock import SystemClock
from fusion.services.homes import (
    DEFAULT_MIN_GROUP,
    NODE_FILE,
    NodeConfig,
    NodeHome,
    make_folder,
    new_home,
    readable_name,
    toml_text,
    write_atomic,
)
from fusion.services.ledger import Book

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fusion.ports import Clock


_MAX_DATASET_CHARACTERS: Final = 63


def init(
    path: Path,
    *,
    hub: str,
    org: str,
    name: str = "",
    data: Mapping[str, Path] | None = None,
    require_grants: bool = True,
) -> NodeHome:
    """Make a node: its keys, a request for admission, a configuration.

    Args:
        path: A new or empty folder.
        hub: The invitation, ``https://host:port#pin``.
        org: Identifier of the organisation.
        name: Of the organisation, for people.
        data: File of each data set, by the name that studies use.
        require_grants: Whether the node takes part in nothing that no grant of its own allows.

    Raises:
        InputInvalid: The folder is in use, or an argument is not what it should be.
        EnvironmentUnfit: The folder can't be made.
    """
    invitation = Invitation.parse(hub)
    organisation = member_id(org)
    config = NodeConfig(
        id=organisation,
        name=readable_name(name),
        hub_url=invitation.url,
        pin=invitation.pin,
        min_group=DEFAULT_MIN_GROUP,
        require_grants=require_grants,
        data={_dataset(k): Path(v).resolve() for k, v in (data or {}).items()},
    )
    home = NodeHome(new_home(path, NODE_FILE, "node"), config)
    make_folder(home.keys)
    make_folder(home.paillier)
    statement, sealing = SigningKey.generate(), SealingKey.generate()
    tls, fleet = keys.new_tls_key(), keys.new_fleet_key()
    write_atomic(home.keys / "statement.pem", keys.signing_pem(statement))
    write_atomic(home.keys / "sealing.pem", keys.sealing_pem(sealing))
    write_atomic(home.tls_key, keys.tls_pem(tls))
    write_atomic(home.fleet_key, keys.fleet_pem(fleet))
    request = make_request(
        organisation, config.name, statement=statement, sealing=sealing, fleet=fleet, tls=tls
    )
    write_atomic(home.request, request, 0o644)
    # Last: with this file the folder is a node.
    write_atomic(home.path / NODE_FILE, toml_text(config.model_dump(mode="json")))
    with Book(home):
        return home


def forwarder_of(node: NodeHome, *, clock: Clock | None = None) -> Forwarder:
    """Return a forwarder to the hub for Flower's stock SuperNode, not yet started.

    The SuperNode is given ``node.forward_ca`` as its root certificates and ``node.fleet_key`` as
    its key. The certificate is made anew each time; its CA's key is dropped.

    Raises:
        EnvironmentUnfit: The node's own certificate is missing or can't be used.
    """
    now = (clock or SystemClock()).now()
    ca_key, key = keys.new_tls_key(), keys.new_tls_key()
    ca = certificates.new_ca("loopback", ca_key, now)
    leaf = certificates.Issuer(ca, ca_key).server([HOST], key.public_key(), now)
    make_folder(node.forward)
    write_atomic(node.forward_ca, certificates.pem(ca))
    write_atomic(node.forward / "key.pem", keys.tls_pem(key))
    write_atomic(node.forward / "certificate.pem", certificates.pem(leaf))
    config = ForwardConfig(
        certificate=node.forward / "certificate.pem",
        key=node.forward / "key.pem",
        hub=node.invitation.address,
        tls=hub_ssl_context(node.credentials()),
    )
    return Forwarder(config)


def _dataset(name: str) -> str:
    if not name or len(name) > _MAX_DATASET_CHARACTERS or not name.isprintable():
        raise InputInvalid(
            "A data set has no usable name.",
            hint=f"Use 1 to {_MAX_DATASET_CHARACTERS} printable characters.",
        )
    return name
