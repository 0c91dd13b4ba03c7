"""Our engines at work: every way of encrypting, then adding, decrypting and opening by threshold.

Nothing is taken on trust: before an engine is timed, a sum of all clients is made, opened both ways
and compared slot by slot with the sum in the clear.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from benchmarks.timing import Timing, available_cores, cores, measure, progress
from benchmarks.workload import SECURITY_BITS, Result, Workload
from fusion.crypto.paillier import damgard_jurik, packing, threshold, vectors
from fusion.crypto.paillier.randomisers import Djn, Exact
from fusion.crypto.paillier.residues import rows_from
from tests.engine_choice import running

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from fusion.crypto.paillier.randomisers import Randomiser
    from fusion.crypto.paillier.residues import Rows

ONE_CORE: Final = {"gmp"}
"""Engines that hold the interpreter: they use one core, however many there are."""

_LEAST: Final = 64
_BINDING: Final = bytes(32)


@dataclass(frozen=True)
class Engine:
    """One engine with one degree.

    Attributes:
        work: What is encrypted.
        degree: 1 or 2.
    """

    work: Workload
    degree: int

    @cached_property
    def randomisers(self) -> list[Randomiser]:
        """Ways to encrypt that are compared."""
        key = self.work.keys.public
        if self.degree == 2:
            return [
                damgard_jurik.ExactSquared(self.work.keys.private),
                damgard_jurik.DjnSquared(key),
            ]
        return [Exact(self.work.keys.private), Djn(key)]

    def check(self) -> Rows:
        """Return sums of all clients after comparing what they open to with the clear.

        Raises:
            ArithmeticError: They differ: nothing that is measured would mean anything.
        """
        layout = self.work.layout(self.degree, _LEAST)
        given = [self.work.slots(layout, client) for client in range(self.work.clients)]
        return [self._checked(layout, given, blind) for blind in self.randomisers][-1]

    def _checked(
        self, layout: packing.Layout, given: list[NDArray[np.uint64]], blind: Randomiser
    ) -> Rows:
        key = self.work.keys.public
        made = [vectors.encrypt(key, layout, _BINDING, slots, blind) for slots in given]
        rows = vectors.add(made).rows
        few = rows[:8]
        by_holders = threshold.combine(self._dealt[0], self._partials(few), few)
        opened = self._open(rows)
        if (
            packing.unpack(layout, opened).tolist() != np.sum(given, axis=0).tolist()
            or by_holders.tobytes() != opened[:8].tobytes()
        ):
            msg = "What was decrypted is not the sum of what was encrypted."
            raise ArithmeticError(msg)
        return rows

    def encrypting(self, blind: Randomiser) -> Timing:
        """Time quantising, packing, encrypting and serialising."""

        def encrypt(count: int) -> None:
            layout = self.work.layout(self.degree, count)
            slots = self.work.slots(layout, 0)
            vectors.encrypt(self.work.keys.public, layout, _BINDING, slots, blind).to_bytes()

        return self._measure(encrypt)

    def shared(self, rows: Rows) -> dict[str, Timing]:
        """Time what does not depend on how a vector was blinded.

        Args:
            rows: Ciphertexts; repeated as often as needed, since no time depends on their values.
        """
        key, clients = self.work.keys.public, self.work.clients
        width = damgard_jurik.ciphertext_bytes(key, self.degree)
        ring = damgard_jurik.product_ring(key, self.degree)
        total = self.work.layout(self.degree).plaintexts
        rows = np.tile(rows, (-(-total // len(rows)), 1))[:total]
        bodies = [rows.tobytes()] * clients
        dealt, share = self._dealt[0], self._dealt[1][0]
        partials = self._partials(rows[:_LEAST])
        repeated = {i: np.tile(p, (-(-total // len(p)), 1)) for i, p in partials.items()}

        def read(count: int) -> list[Rows]:
            return [rows_from(memoryview(body)[: count * width], width) for body in bodies]

        def check(count: int) -> None:
            for part in read(count):
                vectors.check_units(key, part, self.degree)

        def decrypt(count: int) -> None:
            layout = self.work.full_layout(self.degree, count)
            opened = packing.unpack(layout, self._open(rows[:count]))
            packing.read_sum(layout, opened, clients)

        return {
            "aggregate": self._measure(lambda count: ring.product(read(count)).tobytes()),
            "check": self._measure(check),
            "decrypt": self._measure(decrypt),
            "partial": self._measure(lambda c: threshold.partial(dealt, share, rows[:c])),
            "combine": self._measure(
                lambda c: threshold.combine(
                    dealt, {i: p[:c] for i, p in repeated.items()}, rows[:c]
                )
            ),
        }

    @cached_property
    def _dealt(self) -> tuple[threshold.ThresholdKey, list[int]]:
        return self.work.keys.dealing(self.degree)

    def _partials(self, rows: Rows) -> dict[int, Rows]:
        key, shares = self._dealt
        return {i: threshold.partial(key, shares[i - 1], rows) for i in range(1, key.threshold + 1)}

    def _open(self, rows: Rows) -> Rows:
        private = self.work.keys.private
        return private.decrypt(rows) if self.degree == 1 else damgard_jurik.decrypt(private, rows)

    def _measure(self, action: Any) -> Timing:  # noqa: ANN401 -- whatever it returns is dropped
        total = self.work.layout(self.degree).plaintexts
        return measure(action, total, least=_LEAST, budget=self.work.budget)


def results(work: Workload, name: str, threads: list[int]) -> Iterator[dict[str, Any]]:
    """Yield the results of one engine.

    Raises:
        EnvironmentUnfit: It does not run here; the message says why.
    """
    with running(name):
        for degree in damgard_jurik.DEGREES:
            ours = Engine(work, degree)
            progress(f"{name}, degree {degree}: making tables, comparing a sum with the clear")
            rows = ours.check()
            error = work.quantisation_error(degree)
            for count in [1] if name in ONE_CORE else threads:
                progress(f"{name}, degree {degree}: measuring on {count} of {available_cores()}")
                with cores(count):
                    shared = ours.shared(rows)
                    for blind in ours.randomisers:
                        yield Result(
                            system="banyan",
                            randomiser=blind.name,
                            timings={"encrypt": ours.encrypting(blind), **shared},
                            bits=work.bits,
                            security_bits=SECURITY_BITS[work.bits],
                            bytes_per_parameter=work.layout(degree).plaintexts
                            * damgard_jurik.ciphertext_bytes(work.keys.public, degree)
                            / work.parameters,
                            max_abs_error=error,
                            engine=name,
                            degree=degree,
                            threads=count,
                        ).entry()
