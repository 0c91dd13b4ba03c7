"""The terms of a job, made the same way by the hub and, each for itself, by every party."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from federated.data import feature_names, moments_names
from federated.layouts import layouts
from federated.models.registry import build
from federated.protocols.secure_sum import JobTerms
from fusion.errors import Refused

if TYPE_CHECKING:
    from federated.models.registry import Model
    from federated.study import Study
    from fusion.crypto.paillier.threshold import ThresholdKey
    from fusion.identity.roster import Roster


def agree(
    study: Study,
    job: str,
    roster: Roster,
    key: ThresholdKey,
    holders: tuple[str, ...],
    *,
    floor: int = 2,
) -> tuple[JobTerms, Model]:
    """Return the terms of a job and the study's model.

    Args:
        study: The study.
        job: The run.
        roster: Who the organisations are.
        key: The study's key.
        holders: Its share holders, in the order of their numbers.
        floor: Fewest contributions the one who agrees wants in a sum.

    Raises:
        Refused: The key is not the one the study describes.
        UnknownOrganisation: The study names an organisation that was not admitted.
    """
    _check_key(study, key, holders)
    model = build(study, len(feature_names(study)))
    terms = JobTerms(
        job=job,
        study=study.digest(),
        key=key,
        holders=holders,
        layouts=layouts(
            study,
            parameters=sum(int(np.prod(shape)) for _, shape in model.shapes),
            moments=len(moments_names(study)),
        ),
        parties={org: roster.member(org).statement_key for org in study.organisations},
        authority=roster.authority_key,
        quorum=max(study.quorum, floor),
        rounds=study.rounds,
        masks=study.aggregation.masks,
    )
    return terms, model


def _check_key(study: Study, key: ThresholdKey, holders: tuple[str, ...]) -> None:
    found = (key.public.bits, key.threshold, sorted(holders))
    wanted = (study.key.bits, study.key.threshold, sorted(study.key.holders))
    if found != wanted:
        msg = (
            f"The study wants a {wanted[0]}-bit key, {wanted[1]} of {', '.join(wanted[2])}; "
            f"the key has {found[0]} bits, {found[1]} of {', '.join(found[2])}."
        )
        raise Refused(msg, hint="Hold a key ceremony that fits, or change [key] in the study.")
