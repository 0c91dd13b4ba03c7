"""What each sum of a study carries: names, sizes, scales. Public, and fixed before data is seen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from fusion.crypto.paillier.packing import Layout, Tensor

if TYPE_CHECKING:
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
    return {
        purpose: Layout(
            tensors=parts,
            value_bits=aggregation.value_bits,
            contributors=len(study.organisations),
            key_bits=study.key.bits,
        )
        for purpose, parts in tensors.items()
    }
