"""An organisation's verbs: make a node, with its keys and its request; forward to the hub."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from fusion.errors import InputInvalid
from fusion.identity import certificates, keys
from fusion.identity.members import member_id
from fusion.identity.trust import Invitation
from fusion.link.forward import HOST, ForwardConfig, Forwarder
from fusion.services.clock import SystemClock
from fusion.services.files import make_folder, new_home, readable_name, toml_text, write_atomic
from fusion.services.homes import DEFAULT_MIN_GROUP, NODE_FILE, NodeConfig, NodeHome
from fusion.services.ledger import Book
from fusion.services.organisations import ORG_FILE, OrgHome, make_keys

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fusion.link.dial import Link
    from fusion.ports import Clock


_MAX_DATASET_CHARACTERS: Final = 63


def init(
    path: Path,
    *,
    hub: str,
    org: str = "",
    name: str = "",
    data: Mapping[str, Path] | None = None,
    require_grants: bool = True,
    passphrase: bytes | None = None,
    clock: Clock | None = None,
) -> NodeHome:
    """Make a node: a configuration, and the organisation's keys and request if it has none yet.

    Args:
        path: The folder of an organisation, or a new or empty one.
        hub: The invitation, ``https://host:port#pin``.
        org: Identifier of the organisation; an organisation's folder knows it.
        name: Of the organisation, for people.
        data: File of each data set, by the name that studies use.
        require_grants: Whether the node takes part in nothing that no grant of its own allows.
        passphrase: Encrypts keys that are made; None leaves them readable.
        clock: Time.

    Raises:
        InputInvalid: The folder is in use, or an argument is not what it should be.
        EnvironmentUnfit: The folder can't be made.
    """
    invitation = Invitation.parse(hub)
    config = _config(path, invitation, org, name, require_grants=require_grants, data=data or {})
    home = NodeHome(new_home(path, NODE_FILE, "node", beside=ORG_FILE), config, passphrase)
    make_folder(home.paillier)
    if not home.org_file.exists():
        make_keys(home, member_id(config.id), config.name, clock or SystemClock())
        known = {"id": config.id, "name": config.name}
        write_atomic(home.org_file, toml_text(known))
    # Last: with this file the folder is a node.
    write_atomic(home.path / NODE_FILE, toml_text(config.model_dump(mode="json")))
    with Book(home):
        return home


def _config(
    path: Path,
    invitation: Invitation,
    org: str,
    name: str,
    *,
    require_grants: bool,
    data: Mapping[str, Path],
) -> NodeConfig:
    if (path / ORG_FILE).exists():
        known = OrgHome.open_org(path).org_config()
        if org not in {"", known.id} or name not in {"", known.name}:
            raise InputInvalid(
                f"{path} is the folder of {known.id}, {known.name!r}.",
                hint="Leave out --org and --name, or name a new folder.",
            )
        org, name = known.id, known.name
    return NodeConfig(
        id=member_id(org),
        name=readable_name(name),
        hub_url=invitation.url,
        pin=invitation.pin,
        min_group=DEFAULT_MIN_GROUP,
        require_grants=require_grants,
        data={_dataset(k): Path(v).resolve() for k, v in data.items()},
    )


def forwarder_of(node: NodeHome, link: Link, *, clock: Clock | None = None) -> Forwarder:
    """Return a forwarder to the hub for Flower's stock SuperNode, not yet started.

    The SuperNode is given ``node.forward_ca`` as its root certificates. The certificate is made
    anew each time; its CA's key is dropped.

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
        link=link,
    )
    return Forwarder(config)


def _dataset(name: str) -> str:
    if not name or len(name) > _MAX_DATASET_CHARACTERS or not name.isprintable():
        raise InputInvalid(
            "A data set has no usable name.",
            hint=f"Use 1 to {_MAX_DATASET_CHARACTERS} printable characters.",
        )
    return name
