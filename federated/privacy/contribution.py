"""A party's part of a private sum: bounded, noised, then given to be encrypted.

The noise is drawn here, once for each manifest: what is sent again is the ciphertext that the
party's log kept, so that no second draw of the same sum exists to be averaged with. Nothing that
this module is given leaves the process without its noise.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from federated.data import centred
from federated.metrics import score_histogram, stretched
from federated.privacy.plan import TAIL
from federated.privacy.rows import gradient_sum, histogram_sum, joined, moment_sum
from fusion.crypto.gaussian import discrete_gaussian
from fusion.errors import DataInvalid

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from federated.data import Prepared
    from federated.models.registry import Model
    from federated.privacy.plan import Purpose, Release
    from federated.study import Study
    from fusion.crypto.paillier.packing import Layout

    Floats = NDArray[np.float64]
    Integers = NDArray[np.int64]
    Incoming = tuple[Floats, Floats, Floats]
    """Parameters, and the rows that train and that judge, standardised."""


@dataclass(frozen=True, slots=True)
class Part:
    """What a party's contributions to the sums of one private run are made from.

    Attributes:
        study: With ``[privacy]``.
        model: Of the study.
        data: The party's rows.
        watch: Called now and then; ends the work by raising.
    """

    study: Study
    model: Model
    data: Prepared
    watch: Callable[[], None]

    def slots(
        self, layout: Layout, purpose: Purpose, incoming: Incoming | None
    ) -> NDArray[np.uint64]:
        """Return the slots of a contribution, with fresh noise.

        Args:
            layout: Of the sum.
            purpose: What is summed.
            incoming: The model that came in; ``None`` for moments.

        Raises:
            DataInvalid: The study is not private, or a sum but that of moments has no model.
        """
        noise = self.study.noise
        if noise is None:
            msg = "A contribution without noise was to be made as a private one."
            raise DataInvalid(msg)
        release = noise.releases[purpose]
        return noised(layout, release, self._sums(purpose, incoming, release))

    def _sums(
        self, purpose: Purpose, incoming: Incoming | None, release: Release
    ) -> Mapping[str, Integers]:
        """Return the sums over clipped rows; nobody but :meth:`slots` sees them."""
        if purpose == "moments":
            return moment_sum(centred(self.study, self.data.train_x), release)
        if incoming is None or self.study.privacy is None:
            msg = "A private sum has no model to train or to judge."
            raise DataInvalid(msg)
        params, train_x, holdout_x = incoming
        if purpose == "evaluate":
            scores = np.nan_to_num(self.model.row_scores(params, holdout_x), nan=0.5)
            bins = self.study.aggregation.score_bins
            histogram = score_histogram(stretched(scores), self.data.holdout_y, bins)
            return histogram_sum(histogram, release)
        return gradient_sum(
            self.model,
            params,
            (train_x, self.data.train_y),
            clip_norm=self.study.privacy.clip_norm,
            release=release,
            watch=self.watch,
        )


def noised(layout: Layout, release: Release, sums: Mapping[str, Integers]) -> NDArray[np.uint64]:
    """Return the slots of a contribution: offset, bounded sum and this party's noise.

    Bounding a coordinate moves two sums no further apart, so it costs no sensitivity. Noise beyond
    twelve sigma is cut, which happens with a probability below 2^-102 a coordinate; delta has room
    for it. No slot can wrap.

    Args:
        layout: Of the sum, from :func:`federated.layouts.layouts`.
        release: Its noise.
        sums: Each tensor's sum over the party's rows, in units of the fixed point.

    Raises:
        DataInvalid: The sums do not fit the layout, or the layout has no room for them.
    """
    half = 1 << (layout.value_bits - 1)
    if release.bound + TAIL * release.sigma > half - 1:
        msg = "A layout has no room for the noise of its sum."
        raise DataInvalid(msg)
    total = joined(sums, {tensor.name: tensor.size for tensor in layout.tensors})
    tail = TAIL * release.sigma
    noise = np.clip(discrete_gaussian(release.sigma, total.size), -tail, tail)
    return (half + np.clip(total, -release.bound, release.bound) + noise).astype(np.uint64)
