"""The back end ``paillier``: gradients travel encrypted under the label party's key.

SecureBoost (Cheng et al., IEEE Intelligent Systems 36(6), 2021), packed and compressed after
arXiv 2110.10927. Feature parties multiply ciphertexts bin by bin; what they return they first
multiply with fresh encryptions of 0 whose randomness is uniform over *all* N-th residues. So a
returned ciphertext is a uniform one of its plaintext, and the label party, which made every
randomiser and could factor out any guess, learns nothing of it beyond the sums.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from gmpy2 import mpz

from federated.protocols.vertical import packing as slots
from federated.protocols.vertical.gradients import bounds, fields
from federated.protocols.vertical.messages import Kind, Message, chunks, encode, need
from federated.protocols.vertical.permutations import uniform_permutation
from federated.protocols.vertical.pooled import cuts_of
from federated.protocols.vertical.sides import Gathered
from fusion.crypto.paillier.keys import PublicKey
from fusion.crypto.paillier.modulus_proof import check_proof, prove
from fusion.crypto.paillier.randomisers import Full
from fusion.crypto.paillier.received import check_distance
from fusion.crypto.paillier.residues import rows_of
from fusion.errors import MessageInvalid

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from federated.protocols.vertical.binning import Columns
    from federated.protocols.vertical.messages import Array, Outgoing
    from federated.protocols.vertical.sides import Level
    from federated.protocols.vertical.trees import Growth
    from fusion.crypto.paillier.keys import PrivateKey
    from fusion.crypto.paillier.randomisers import Randomiser
    from fusion.crypto.paillier.residues import Rows

    Ints = NDArray[np.int64]
    Bools = NDArray[np.bool_]


class EncryptedLabelSide:
    """Encrypts rows, decrypts sums."""

    name = "paillier"
    dealer = None

    def __init__(self, key: PrivateKey, randomiser: Randomiser, growth: Growth, rows: int) -> None:
        """Take the label party's own key, used for one run.

        Args:
            key: The key.
            randomiser: Blinds rows, under that key.
            growth: The terms.
            rows: All aligned rows, for the width of fields.
        """
        self.key = key
        self._randomiser = randomiser
        self._growth = growth
        self._fields = fields(growth.objective, rows, growth.weight)
        self.packing = slots.Packing.of(key.public, self._fields)

    def start(self) -> tuple[Array, ...]:
        """Return the modulus and the proof that Paillier encryption under it is what it should."""
        public = self.key.public
        modulus = rows_of([public.n], public.residue_bytes)[0]
        return modulus, np.frombuffer(prove(self.key.p, self.key.q), np.uint8)

    def tree(self, number: int, pairs: Ints) -> list[bytes]:
        """Encrypt every row afresh: no ciphertext serves two trees."""
        gradient, hessian = bounds(self._growth.objective, self._growth.weight)
        public = self.key.public
        out = []
        for first, count in chunks(len(pairs), public.ciphertext_bytes):
            plain = slots.plaintexts(
                public, self._fields, pairs[first : first + count], gradient, hessian
            )
            out.append(encode(Kind.GRADIENTS, number, 0, self._randomiser.encrypt(plain)))
        return out

    def reading(self, level: Level) -> EncryptedReading:
        """See :class:`~.sides.LabelSide`."""
        return EncryptedReading(self, level)


class EncryptedReading:
    """Decrypts a level's sums of one party."""

    def __init__(self, side: EncryptedLabelSide, level: Level) -> None:
        """Take what is due."""
        self._side = side
        self._due = level

    def ask(self) -> list[Outgoing]:
        """Nothing: the rows are there since the tree began."""
        return []

    def take(self, sender: str, message: Message) -> None:
        """See :class:`~.sides.Reading`."""
        del sender
        raise MessageInvalid(f"A {message.kind.name} message came where CANDIDATES was due.")

    def candidates(self, arrays: Sequence[Array], count: int) -> Ints:
        """See :class:`~.sides.Reading`.

        Raises:
            MessageInvalid: Not as many ciphertexts as are due, or not of sums.
        """
        side, public, built = self._side, self._side.key.public, len(self._due.pairs)
        width = side.packing.ciphertexts(built * count)
        message = Message(Kind.CANDIDATES, 0, 0, tuple(arrays))
        shape = ("u1", (width, public.ciphertext_bytes))
        (ciphertexts,) = need(message, Kind.CANDIDATES, 0, 0, shape)
        slots.check_ciphertexts(public, ciphertexts)
        plain = side.key.decrypt(ciphertexts)
        return slots.unpacked(public, side.packing, plain, built * count).reshape(built, count, 2)


class EncryptedFeatureSide:
    """Adds up under encryption; shuffles its candidates anew for every tree."""

    dealer = None

    def __init__(self, columns: Columns, growth: Growth, rows: int) -> None:
        """Take the party's columns."""
        self._columns = columns
        self._growth = growth
        self._rows = rows
        self._place = np.zeros(rows, np.int64)
        self.options = columns.candidates
        self._gathered = Gathered(0, 0, "u1", 0)
        self._built: Sequence[Ints] = ()
        self._needed = np.zeros((0, 0), bool)

    def start(self, message: Message) -> None:
        """Take the key, if it is one that can be used.

        Raises:
            MessageInvalid: START does not carry a modulus and a proof.
            KeyRefused: The modulus is no sound one.
            VerificationFailed: The proof does not hold.
        """
        shapes = ("u1", (32,)), ("u1", (None,)), ("u1", (None,))
        _, modulus, proof = need(message, Kind.START, 0, 0, *shapes)
        key = PublicKey(int(mpz.from_bytes(modulus.tobytes(), "little")))
        check_distance(key)
        check_proof(key, proof.tobytes())
        self._key = key
        widths = fields(self._growth.objective, self._rows, self._growth.weight)
        self._packing = slots.Packing.of(key, widths)
        self._refresher = Full(key)

    def tree(self, number: int, sample: Ints) -> None:
        """See :class:`~.sides.FeatureSide`."""
        self._gathered = Gathered(number, len(sample), "u1", self._key.ciphertext_bytes)
        self._place[sample] = np.arange(len(sample))
        canonical = self._columns.candidates
        self.options = canonical.reordered(uniform_permutation(len(canonical)))

    def level(self, level: int, built: Sequence[Ints], needed: Bools) -> list[Outgoing]:
        """See :class:`~.sides.FeatureSide`."""
        del level
        self._built, self._needed = built, needed
        return []

    def take(self, sender: str, message: Message) -> None:
        """See :class:`~.sides.FeatureSide`.

        Raises:
            MessageInvalid: Not ciphertexts of this tree.
        """
        del sender
        slots.check_ciphertexts(self._key, self._gathered.take(message))

    def reply(self) -> tuple[list[bytes], tuple[Array, ...]] | None:
        """See :class:`~.sides.FeatureSide`."""
        if not self._gathered.complete:
            return None
        sums = np.concatenate([self._left_sums(rows) for rows in self._built])
        sums[~self._needed.reshape(-1)] = 0
        sums[~self._needed.reshape(-1), 0] = 1  # an encryption of 0, refreshed below
        total = slots.compressed(self._key, self._packing, sums)
        zeros = np.zeros((len(total), self._key.plaintext_bytes), np.uint8)
        fresh = self._refresher.encrypt(zeros)
        return [], (self._key.product_ring.product([total, fresh]),)

    def _left_sums(self, rows: Ints) -> Rows:
        """Return what each candidate sends left of a node, encrypted."""
        columns, options, width = self._columns, self.options, self._key.ciphertext_bytes
        if not len(options):
            return np.empty((0, width), np.uint8)
        cells = self._key.ring.bucket_products(
            self._gathered.rows[self._place[rows]], columns.codes[rows], columns.bins
        ).reshape(-1, columns.bins, width)
        running = [np.ascontiguousarray(cells[:, 0])]
        for index in range(1, columns.bins):
            pair = [running[-1], np.ascontiguousarray(cells[:, index])]
            running.append(self._key.product_ring.product(pair))
        totals = np.stack(running, axis=1)
        found = totals[options.feature, options.threshold]
        with_missing = np.flatnonzero(options.missing)
        if len(with_missing):
            feature = options.feature[with_missing]
            lacking = cells[feature, cuts_of(columns)[feature] + 1]
            found[with_missing] = self._key.product_ring.product([found[with_missing], lacking])
        return found
