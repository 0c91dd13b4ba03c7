"""A dispute as the hub drives it: ask everyone whose contribution was summed, name who fails."""

from __future__ import annotations

from typing import TYPE_CHECKING

from federated.asking import text_of
from federated.cohort import Request
from federated.protocols.disputes import verify_defence
from federated.protocols.statements import HUB, ContributionList, read
from fusion.errors import SumDisputed, VerificationFailed
from fusion.types import OrgId

if TYPE_CHECKING:
    from collections.abc import Sequence

    from federated.asking import Asker, Meter
    from federated.openings import Opening
    from federated.protocols.secure_sum import JobTerms, Verified


def settle(
    terms: JobTerms,
    asker: Asker,
    opening: Opening,
    verified: Sequence[Verified],
    disputed: SumDisputed,
    meter: Meter,
) -> SumDisputed:
    """Find out who made a sum that can't be; return the error that ends the run.

    If every contribution were in range at a plaintext, its sum would be: so one plaintext is
    enough, and at least one contributor fails there, or falls silent.
    """
    manifest = opening.manifest
    what = (
        f"The sum of round {manifest.round} was not applied: it can't be one of "
        f"{len(opening.contributors)} well-formed contributions"
    )
    if manifest.cohort:
        return SumDisputed(
            f"{what}. It is masked, so nobody can be asked to show a contribution alone.",
            hint="Run the study again; without masks whoever causes this is named.",
            plaintexts=disputed.plaintexts,
        )
    index = disputed.plaintexts[0]
    head = {
        "job": manifest.job,
        "manifest": opening.signed_manifest.decode(),
        "list": opening.listing.decode(),
        "plaintext": index,
    }
    listed = read(ContributionList, opening.listing, {HUB: terms.authority})
    whom = [OrgId(each.organisation) for each in verified]
    replies = asker.ask("dispute", manifest.round, Request("dispute", head), whom, meter)
    wrong, silent = [], []
    for each in verified:
        organisation = OrgId(each.organisation)
        reply = replies.get(organisation)
        if reply is None:
            silent.append(organisation)
            continue
        try:
            answer = text_of(reply, "defence"), reply.blobs.get("proof", b"")
            verify_defence(terms, manifest, listed, index, each, answer)
        except VerificationFailed as error:
            reason = f"could not prove its contribution in range: {error.message}"
            named = SumDisputed(f"{organisation} {reason}", plaintexts=(index,))
            asker.leave_out(organisation, reason, named)
            wrong.append(organisation)
    parts = [f"{', '.join(wrong)} could not prove its own in range"] if wrong else []
    parts += [f"{', '.join(silent)} did not defend its own"] if silent else []
    found = "; ".join(parts) or "everyone has proved its own in range"
    return SumDisputed(
        f"{what}. {found} (plaintext {index}).",
        hint="Ask whoever is named; run the study again without it.",
        plaintexts=disputed.plaintexts,
    )
