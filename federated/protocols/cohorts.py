"""Who takes part in a masked sum: what a join has to say, for the hub and for every member alike.

Both hold it to the same rules, so that whoever joins with nonsense is named by the hub, and not
those who refuse to mask with it. Claim: ``docs/claims/contributions.md``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from federated.protocols.statements import Join, read
from fusion.crypto.agreement import OneTimeKey
from fusion.errors import KeyRefused, MessageInvalid

if TYPE_CHECKING:
    from federated.protocols.secure_sum import JobTerms


def read_join(terms: JobTerms, number: int, attempt: int, data: bytes) -> Join:
    """Read what one party signed to join one attempt.

    Args:
        terms: Of the job.
        number: The round.
        attempt: The attempt.
        data: The envelope.

    Raises:
        VerificationFailed: It is forged or malformed, for another study, job, round or attempt, or
            its key is one with which nobody can agree on a secret.
    """
    said = read(Join, data, terms.parties)
    if (said.job, said.study, said.round, said.attempt) != (
        terms.job,
        terms.study,
        number,
        attempt,
    ):
        msg = f"{said.organisation} joined another attempt."
        raise MessageInvalid(msg)
    try:
        OneTimeKey.generate().agree(said.key, b"")
    except KeyRefused as error:
        msg = f"{said.organisation} joined with a key that can't be used: {error.message}"
        raise MessageInvalid(msg) from None
    return said
