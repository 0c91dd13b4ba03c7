"""How many of the label's events are in each bin of another party's columns: encrypted, once.

Weights of evidence need it. The label party encrypts a pair for each training row, its label and 1,
under its own key; a feature party, which alone knows the bins, multiplies the ciphertexts of each
bin, and returns them in an order drawn anew, packed and with fresh randomisers, as
:mod:`~.encrypted` does it for gradients. So the label party reads events and rows of bins without
feature or value, holds them to what was agreed, and tells the feature party the events of each,
no nearer to none or all than :data:`FEWEST_OF_CLASS`. Who learns what: ``docs/claims/vertical.md``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from gmpy2 import mpz

from federated.protocols.vertical import packing as slots
from federated.protocols.vertical.gradients import Fields
from federated.protocols.vertical.messages import Kind, chunks
from federated.protocols.vertical.permutations import uniform_permutation
from federated.protocols.vertical.scripts import Due, Scripted
from fusion.crypto.hashing import hexdigest
from fusion.crypto.paillier.keys import PublicKey
from fusion.crypto.paillier.modulus_proof import check_proof, prove
from fusion.crypto.paillier.randomisers import Exact, Full
from fusion.crypto.paillier.received import check_distance
from fusion.crypto.paillier.residues import rows_of
from fusion.errors import InputInvalid, MessageInvalid

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from federated.protocols.vertical.binning import Columns
    from federated.protocols.vertical.scripts import Script
    from fusion.crypto.paillier.keys import PrivateKey

    Bind = Callable[[str, str, str], None]
    """Told a party, what commits to its sums, and whom to name; raises if they were others."""

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

_SUMS: Final = "banyan/vertical-counts/v1"

FEWEST_OF_CLASS: Final = 5
"""A bin is told as if it had at least so many events, and so many rows without."""


def told(events: Ints, rows: Ints) -> Ints:
    """Return events of bins as they are told: no bin says that all its rows are of one class.

    Args:
        events: A bin each.
        rows: A bin each, at least twice :data:`FEWEST_OF_CLASS`.
    """
    return np.clip(events, FEWEST_OF_CLASS, rows - FEWEST_OF_CLASS)


def _packing(key: PublicKey, rows: int) -> slots.Packing:
    bits = rows.bit_length()
    return slots.Packing.of(key, Fields(gradient_bits=bits + 1, hessian_bits=bits))


class CountingLabel(Scripted):
    """The label party.

    Attributes:
        smallest: Rows of each feature party's smallest bin, when done.
    """

    def __init__(
        self,
        most: Mapping[str, int],
        labels: Floats,
        make_key: Callable[[], PrivateKey],
        fewest: int,
        bind: Bind = lambda *_: None,
    ) -> None:
        """Take the labels.

        Args:
            most: Feature parties, and how many bins each may have counted. Nothing proves what a
                party adds up: so many events at most are told to one that cheats.
            labels: 0 or 1, of the training rows.
            make_key: Makes its own key, used for this and nothing else; of safe primes.
            fewest: Rows that a bin has at least.
            bind: Told a party, what commits to its sums in any order, and whom to name, before
                they are answered; raises if they were others in an earlier attempt.

        Raises:
            InputInvalid: Bins so small that their classes could not be hidden.
        """
        if fewest < 2 * FEWEST_OF_CLASS:
            raise InputInvalid(f"A bin has at least {2 * FEWEST_OF_CLASS} rows.")
        super().__init__(dict.fromkeys(most, (Kind.OFFER, Kind.PRODUCT)))
        self._most, self._make_key, self._fewest, self._bind = dict(most), make_key, fewest, bind
        self._pairs = np.stack([labels.astype(np.int64), np.ones(len(labels), np.int64)], axis=1)
        self.smallest: dict[str, int] = {}

    def script(self) -> Script:
        """See :class:`~.scripts.Scripted`."""
        offered: dict[str, int] = {}
        for name, most in self._most.items():
            (offer,) = yield Due(name, Kind.OFFER, 0, 0, (("u4", ()),))
            if not 0 < int(offer) <= most:
                raise MessageInvalid("A party counts no bins, or too many.")
            offered[name] = int(offer)
        # What takes long begins when all have been heard: until then nobody waits for it.
        key = self._make_key()
        public, rows = key.public, len(self._pairs)
        packing, randomiser = _packing(public, rows), Exact(key)
        modulus = rows_of([public.n], public.residue_bytes)[0]
        proof = np.frombuffer(prove(key.p, key.q), np.uint8)
        for name in self._most:
            self.send(name, Kind.KEY, 0, 0, modulus, proof)
        for piece, (first, count) in enumerate(chunks(rows, public.ciphertext_bytes)):
            pairs = self._pairs[first : first + count]
            plain = slots.plaintexts(public, packing.fields, pairs, 1, 1)
            encrypted = randomiser.encrypt(plain)
            for name in self._most:
                self.send(name, Kind.GRADIENTS, piece, 0, encrypted)
        for name, bins in offered.items():
            shape = ("u1", (packing.ciphertexts(bins), public.ciphertext_bytes))
            (ciphertexts,) = yield Due(name, Kind.PRODUCT, 0, 0, (shape,))
            slots.check_ciphertexts(public, ciphertexts)
            sums = slots.unpacked(public, packing, key.decrypt(ciphertexts), bins)
            self._check(sums)
            ordered = sums[np.lexsort(sums.T)]
            self._bind(name, hexdigest(_SUMS, ordered.astype("<i8").tobytes()), name)
            self.smallest[name] = int(sums[:, 1].min())
            answer = told(sums[:, 0], sums[:, 1])
            self.send(name, Kind.COUNTS, 0, 0, answer.astype(np.uint32))

    def _check(self, sums: Ints) -> None:
        """Hold bins to what was agreed; of fewer rows nothing is told.

        Raises:
            MessageInvalid: One has fewer rows, or more events than rows.
        """
        events, rows = sums.T
        if (rows < self._fewest).any() or (events < 0).any() or (events > rows).any():
            raise MessageInvalid(
                f"A party counts a bin of fewer than {self._fewest} rows, or none that can be."
            )


class CountingFeature(Scripted):
    """A feature party.

    Attributes:
        events: Of each counted bin, as told, when done.
    """

    def __init__(self, label: str, columns: Columns, counted: Ints) -> None:
        """Take the columns.

        Args:
            label: The label party.
            columns: Own, of the training rows.
            counted: ``(bins, 2)``: feature and bin of each that is counted.
        """
        super().__init__({label: (Kind.KEY, Kind.GRADIENTS, Kind.COUNTS)})
        self._label, self._columns, self._counted = label, columns, counted
        self.events: Ints = np.zeros(0, np.int64)

    def script(self) -> Script:
        """See :class:`~.scripts.Scripted`.

        Raises:
            KeyRefused: The modulus is no sound one.
            VerificationFailed: Its proof does not hold.
            MessageInvalid: Ciphertexts that are none, or more events than rows.
        """
        label, columns, rows = self._label, self._columns, len(self._columns.codes)
        self.send(label, Kind.OFFER, 0, 0, np.array(len(self._counted), np.uint32))
        shapes = ("u1", (None,)), ("u1", (None,))
        modulus, proof = yield Due(label, Kind.KEY, 0, 0, shapes)
        key = PublicKey(int(mpz.from_bytes(modulus.tobytes(), "little")))
        check_distance(key)
        check_proof(key, proof.tobytes())
        width = key.ciphertext_bytes
        gathered = np.empty((rows, width), np.uint8)
        for piece, (first, count) in enumerate(chunks(rows, width)):
            (part,) = yield Due(label, Kind.GRADIENTS, piece, 0, (("u1", (count, width)),))
            slots.check_ciphertexts(key, part)
            gathered[first : first + count] = part
        cells = key.ring.bucket_products(gathered, columns.codes, columns.bins)
        order = uniform_permutation(len(self._counted))
        feature, place = self._counted[order].T
        chosen = np.ascontiguousarray(cells.reshape(-1, columns.bins, width)[feature, place])
        total = slots.compressed(key, _packing(key, rows), chosen)
        fresh = Full(key).encrypt(np.zeros((len(total), key.plaintext_bytes), np.uint8))
        self.send(label, Kind.PRODUCT, 0, 0, key.product_ring.product([total, fresh]))
        (answer,) = yield Due(label, Kind.COUNTS, 0, 0, (("u4", (len(order),)),))
        events = np.empty(len(order), np.int64)
        events[order] = answer
        if (
            events > columns.counts(np.arange(rows))[self._counted[:, 0], self._counted[:, 1]]
        ).any():
            raise MessageInvalid("The label party tells more events than a bin has rows.")
        self.events = events
