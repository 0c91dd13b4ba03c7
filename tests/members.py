"""Members of a roster, made up for the purpose; their keys are real."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from fusion.crypto.sealing import SealingKey
from fusion.crypto.signing import SigningKey, VerifyKey
from fusion.identity import certificates
from fusion.identity.keys import fleet_header, new_fleet_key, new_tls_key
from fusion.identity.members import Member, PublicKeys
from fusion.types import OrgId

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric import ec

SINCE = "2026-01-01T00:00:00Z"
MADE = datetime(2026, 1, 1, tzinfo=UTC)


def light_member(name: str, statement: VerifyKey) -> Member:
    """A member that nobody dials: its fleet key and its CA are only words."""
    keys = PublicKeys(
        statement_key=statement,
        sealing_key=SealingKey.generate().public,
        fleet_key=f"test:{name}",
        log_key=SigningKey.generate().public,
        witness_key=SigningKey.generate().public,
        ca=hashlib.sha256(name.encode()).digest(),
    )
    return Member(id=OrgId(name), name="", keys=keys, admitted_at=SINCE, valid_from=SINCE)


@dataclass(frozen=True)
class Keys:
    """All of an organisation's private keys."""

    org: str
    statement: SigningKey = field(default_factory=SigningKey.generate)
    sealing: SealingKey = field(default_factory=SealingKey.generate)
    log: SigningKey = field(default_factory=SigningKey.generate)
    witness: SigningKey = field(default_factory=SigningKey.generate)
    fleet: ec.EllipticCurvePrivateKey = field(default_factory=new_fleet_key)
    authority: ec.EllipticCurvePrivateKey = field(default_factory=new_tls_key)

    @property
    def ca(self) -> bytes:
        """Its CA certificate; another one each time it is asked for."""
        made = certificates.new_organisation_ca(self.org, self.authority, MADE)
        return certificates.der(made)

    def public(self) -> PublicKeys:
        """The public half."""
        return PublicKeys(
            statement_key=self.statement.public,
            sealing_key=self.sealing.public,
            fleet_key=fleet_header(self.fleet.public_key()),
            log_key=self.log.public,
            witness_key=self.witness.public,
            ca=self.ca,
        )

    def member(self) -> Member:
        """A member with these keys."""
        return Member(
            id=OrgId(self.org),
            name=f"Office of {self.org}",
            keys=self.public(),
            admitted_at=SINCE,
            valid_from=SINCE,
        )


def with_keys(member: Member, **changes: Any) -> Member:  # noqa: ANN401 - keys of each kind
    """A member with some of its keys replaced, and nothing that asks for it."""
    return replace(member, keys=replace(member.keys, **changes))
