"""Powers of a fixed base by the ``comb`` kernel: the table, and the call."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import gmpy2
import numpy as np
from gmpy2 import mpz

from fusion.crypto.paillier.engines.arrays import aligned, limbs_of
from fusion.crypto.paillier.engines.kernels.comb import WINDOW, held_for
from fusion.crypto.paillier.engines.kernels.digits import CHUNKS

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from fusion.crypto.paillier.engines.arrays import Workers
    from fusion.crypto.paillier.engines.layout import RingLayout
    from fusion.crypto.paillier.residues import Rows

_CACHED_BYTES: Final = 256 << 10
"""What the batches hold that go through the table together, so that they stay cached."""


class VectorFixedBase:
    """Powers of one base; every entry of the table is read for every window."""

    def __init__(
        self,
        layout: RingLayout,
        kernel: Callable[..., None],
        workers: Workers,
        base: int,
        exponent_bits: int,
        factor: int,
    ) -> None:
        """Build the table."""
        self._layout = layout
        self._kernel = kernel
        self._workers = workers
        self._windows = max(2, -(-exponent_bits // WINDOW))  # a loop turns at least once
        self._table = table_of(layout, base, self._windows)
        self._factors = factors_of(layout, factor)

    def powers(self, exponents: Rows, messages: Rows | None = None) -> Rows:
        """See :meth:`~.engine.FixedBase.powers`."""
        layout, lanes, count = self._layout, self._layout.shape.lanes, len(exponents)
        if count == 0:
            return np.empty((0, layout.width), np.uint8)
        # Shorter exponents, by their public width, need fewer windows.
        windows = min(self._windows, max(2, -(-8 * exponents.shape[1] // WINDOW)))
        digits = layout.padded(exponents, -(-windows * WINDOW // 8))
        given = np.zeros((count, 1), np.uint8) if messages is None else messages
        chunks = layout.chunks(given)
        texts = layout.padded(given, chunks * layout.part_bytes)
        out = layout.results(len(digits))
        vectors = held_for(layout.size, layout.digits)

        def work(first: int, batches: int) -> None:
            held = aligned((batches * vectors, lanes))
            at = first * lanes
            self._kernel(
                layout.constants.ctypes.data, self._factors.ctypes.data, layout.one.ctypes.data,
                out[at:].ctypes.data, out.strides[0], self._table.ctypes.data,
                digits[at:].ctypes.data, digits.strides[0], texts[at:].ctypes.data,
                texts.strides[0], chunks, windows, held.ctypes.data, batches,
            )  # fmt: skip

        most = max(1, _CACHED_BYTES // (vectors * layout.shape.vector_bytes))
        self._workers.share(len(digits) // lanes, most, work)
        return np.ascontiguousarray(out[:count, : layout.width])


def factors_of(layout: RingLayout, factor: int) -> NDArray[np.uint64]:
    """Return what the chunks of a message are multiplied with when it enters."""
    n = layout.modulus
    return layout.parts([mpz(factor) * layout.r ** (j + 1) % n for j in range(CHUNKS)])


def table_of(layout: RingLayout, base: int, windows: int) -> NDArray[Any]:
    """Return entries ``t (1 + n u)`` in Montgomery form, as ``[window][limb][entry]``."""
    entries, limbs, radix = 1 << WINDOW, layout.size.limbs, layout.shape.radix
    kind = np.uint64 if layout.shape.entry_bits == 64 else np.uint32
    table = aligned((windows, layout.vectors, entries), kind)
    n, order, r = mpz(layout.modulus), layout.order, layout.r
    power, back = mpz(base) % order, gmpy2.invert(base, n)
    for window in table:
        lower, upper = [], []
        value, inverse = r % order, gmpy2.invert(r, n)
        for _ in range(entries):
            high, low = gmpy2.f_divmod(value, n)
            lower.append(low)
            upper.append(high * inverse % n)
            value, inverse = value * power % order, inverse * back % n
        window[:limbs] = limbs_of(lower, limbs, radix).T
        if layout.digits == 2:
            window[limbs:] = limbs_of(upper, limbs, radix).T
        power, back = gmpy2.powmod(power, entries, order), gmpy2.powmod(back, entries, n)
    return table
