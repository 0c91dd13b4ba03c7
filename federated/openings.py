"""What a hub is about to have opened: complete enough to ask for exactly the same after a crash."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from federated.protocols.secure_sum import Contribution, Verified
from federated.protocols.statements import HUB, RoundManifest, read

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fusion.crypto.signing import VerifyKey
    from fusion.types import OrgId


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """Exactly what the holders are asked to open.

    Attributes:
        manifest: The round.
        signed_manifest: As the parties got it.
        listing: The signed list.
        contributions: In the order of their organisations.
        contributors: The organisations.
        verified: The contributions as the hub verified them; empty after a restart.
    """

    manifest: RoundManifest
    signed_manifest: bytes
    listing: bytes
    contributions: tuple[Contribution, ...]
    contributors: tuple[OrgId, ...]
    verified: tuple[Verified, ...] = ()

    def document(self) -> dict[str, Any]:
        """Return what the journal keeps."""
        return {
            "manifest": self.signed_manifest,
            "listing": self.listing,
            "contributors": list(self.contributors),
            "submissions": [c.submission for c in self.contributions],
            "vectors": [c.vector for c in self.contributions],
            "proofs": [c.proof for c in self.contributions],
        }

    @classmethod
    def of(cls, kept: Mapping[str, Any], authority: VerifyKey) -> Opening | None:
        """Read what the journal kept; None if a release without proofs kept it.

        Raises:
            VerificationFailed: The manifest is not signed by ``authority``.
        """
        if "proofs" not in kept:
            return None
        parts = zip(kept["submissions"], kept["vectors"], kept["proofs"], strict=True)
        return cls(
            manifest=read(RoundManifest, kept["manifest"], {HUB: authority}),
            signed_manifest=kept["manifest"],
            listing=kept["listing"],
            contributions=tuple(Contribution(*part) for part in parts),
            contributors=tuple(kept["contributors"]),
        )

    def blobs(self) -> dict[str, bytes]:
        """Return what travels to a holder beside the statements."""
        return {
            f"{name}-{index}": data
            for index, each in enumerate(self.contributions)
            for name, data in (("vector", each.vector), ("proof", each.proof))
        }
