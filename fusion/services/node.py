"""An organisation's first verb: make a node, with its keys and its request for admission."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from fusion.crypto.sealing import SealingKey
from fusion.crypto.signing import SigningKey
from fusion.errors import InputInvalid
from fusion.identity import keys
from fusion.identity.request import make_request
from fusion.identity.roster import member_id
from fusion.identity.trust import Invitation
from fusion.services.homes import (
    NODE_FILE,
    NodeConfig,
    NodeHome,
    make_folder,
    new_home,
    readable_name,
    toml_text,
    write_atomic,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

MIN_GROUP: Final = 3
"""Fewest organisations in a sum that a node takes part in, unless its operator says otherwise."""

_MAX_DATASET_CHARACTERS: Final = 63


def init(
    path: Path,
    *,
    hub: str,
    org: str,
    name: str = "",
    data: Mapping[str, Path] | None = None,
) -> NodeHome:
    """Make a node: four keys, a request for admission, a configuration.

    Args:
        path: A new or empty folder.
        hub: The invitation, ``https://host:port#pin``.
        org: Identifier of the organisation.
        name: Of the organisation, for people.
        data: File of each data set, by the name that studies use.

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
        min_group=MIN_GROUP,
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
    return home


def _dataset(name: str) -> str:
    if not name or len(name) > _MAX_DATASET_CHARACTERS or not name.isprintable():
        raise InputInvalid(
            "A data set has no usable name.",
            hint=f"Use 1 to {_MAX_DATASET_CHARACTERS} printable characters.",
        )
    return name
