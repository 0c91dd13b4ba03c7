"""What each sum of a study carries: names, sizes, scales. Public, and fixed before data is seen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from federated.privacy.reading import tensor
from federated.privacy.rows import moments_norm
from fusion.crypto.paillier.packing import Layout, Tensor

if TYPE_CHECKING:
    from collections.abc import Mapping

    from federated.privacy.plan import Plan
    from federated.study import Study

LOSS_CAP: Final = 16.0
"""A row's log-loss counts at most this, so that its sum has a public bound."""


def layouts(study: Study, *, parameters: int, moments: int) -> dict[str, Layout]:
    """Return the layout of each purpose.

    Args:
        study: The study.
        parameters: Number of the model's parameters.
        moments: Number of the coordinates :func:`federated.data.moments` gives.
    """
    if study.noise is not None:
        return _private(study, study.noise, parameters, moments - 1)
    aggregation = study.aggregation
    quality = (
        Tensor(name="loss", size=1, kind="real", clip=1.0),
        Tensor(name="histogram", size=2 * aggregation.score_bins, kind="count"),
    )
    tensors = {
        "moments": (Tensor(name="moments", size=moments, kind="real", clip=1.0),),
        "train": (
            Tensor(name="update", size=parameters, kind="real", clip=aggregation.clip),
            Tensor(name="rows", size=1, kind="count"),
            Tensor(name="clipped", size=1, kind="count"),
            *quality,
        ),
        "evaluate": quality,
    }
    return _of(study, tensors)


def _private(study: Study, noise: Plan, parameters: int, moments: int) -> dict[str, Layout]:
    """Return the layouts of a private run: what is summed there, and nothing beside."""
    releases, bits = noise.releases, study.aggregation.value_bits
    clip_norm = study.privacy.clip_norm if study.privacy else 1.0

    def part(purpose: str, name: str, size: int, clip: float) -> Tensor:
        return tensor(name, size, clip / releases[purpose].unit, bits)

    def count(purpose: str) -> Tensor:
        return tensor("rows", 1, 1.0 / releases[purpose].weight, bits)

    numbers = moments_norm(moments // 2)
    summed = (part("moments", "moments", moments, numbers),) if moments else ()
    bins = 2 * study.aggregation.score_bins
    return _of(
        study,
        {
            "moments": (*summed, count("moments")),
            "train": (part("train", "update", parameters, clip_norm), count("train")),
            "evaluate": (part("evaluate", "histogram", bins, 1.0),),
        },
    )


def _of(study: Study, tensors: Mapping[str, tuple[Tensor, ...]]) -> dict[str, Layout]:
    return {
        purpose: Layout(
            tensors=parts,
            value_bits=study.aggregation.value_bits,
            contributors=len(study.organisations),
            key_bits=study.key.bits,
        )
        for purpose, parts in tensors.items()
    }
