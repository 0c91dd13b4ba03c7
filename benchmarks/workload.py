"""What is encrypted: updates of several clients, the test key, and how results are written down."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from federated.seeds import generator
from fusion.crypto.paillier import packing
from tests.vectors.known import Known, known

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from benchmarks.timing import Timing

SECURITY_BITS: Final = {2048: 112, 3072: 128}
"""NIST SP 800-57, part 1, table 2."""

CLIP: Final = 1.0
VALUE_BITS: Final = 24
CONTRIBUTORS: Final = 1024
"""Declared contributors: ten guard bits."""

STEPS: Final = ("encrypt", "aggregate", "check", "decrypt", "partial", "combine")


@dataclass(frozen=True)
class Workload:
    """One setting that every system gets.

    Attributes:
        bits: Length of the Paillier modulus.
        parameters: Coordinates of an update.
        clients: Updates that are summed.
        budget: Seconds of CPU that one measurement may take.
    """

    bits: int
    parameters: int
    clients: int
    budget: float

    @property
    def keys(self) -> Known:
        """The test key of this length, from the fixed vectors: no prime has to be searched."""
        return known(self.bits)

    @cached_property
    def updates(self) -> list[NDArray[np.float32]]:
        """Normal values of deviation 0.02, the same on every run."""
        made = generator("benchmark", self.parameters)
        return [
            made.normal(0, 0.02, self.parameters).astype(np.float32) for _ in range(self.clients)
        ]

    @cached_property
    def mean(self) -> NDArray[np.float64]:
        """The mean in the clear, in double precision."""
        total = np.zeros(self.parameters, np.float64)
        for update in self.updates:
            total += update
        return total / self.clients

    def layout(self, degree: int, plaintexts: int | None = None) -> packing.Layout:
        """Return the layout of the whole update, or of its first ``plaintexts`` plaintexts."""
        size = self.parameters
        if plaintexts is not None:
            size = min(size, self.full_layout(degree, plaintexts).size)
        return self._layout(degree, size)

    def full_layout(self, degree: int, plaintexts: int) -> packing.Layout:
        """Return the layout that fills every slot of so many plaintexts."""
        return self._layout(degree, plaintexts * self._layout(degree, 1).slots)

    def _layout(self, degree: int, size: int) -> packing.Layout:
        return packing.Layout(
            tensors=(packing.Tensor(name="update", size=size, kind="real", clip=CLIP),),
            value_bits=VALUE_BITS,
            contributors=max(CONTRIBUTORS, self.clients),
            key_bits=self.bits,
            degree=degree,
        )

    def slots(self, layout: packing.Layout, client: int) -> NDArray[np.uint64]:
        """Quantise as much of one client's update as the layout takes."""
        values = self.updates[client][: layout.size].astype(np.float64)
        return packing.quantise(layout, {"update": values}).slots

    def quantisation_error(self, degree: int) -> float:
        """Return the largest error of the mean that fixed point alone makes, over all of it."""
        layout = self.layout(degree)
        total = np.sum([self.slots(layout, client) for client in range(self.clients)], axis=0)
        mean = packing.read_sum(layout, total, self.clients)["update"] / self.clients
        return float(np.abs(mean - self.mean).max())


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One system in one setting.

    Attributes:
        system: What is measured.
        randomiser: How it blinds.
        bits: Length of the modulus; degree of the polynomial for CKKS.
        security_bits: Security level.
        bytes_per_parameter: Ciphertext bytes, serialised.
        max_abs_error: Largest error of the mean against the mean in the clear.
        timings: By step; what a system lacks is absent.
        engine: Ours only.
        degree: Paillier's 1, or Damgård and Jurik's 2; ours only.
        threads: Cores that it may use.
    """

    system: str
    randomiser: str
    bits: int
    security_bits: int
    bytes_per_parameter: float
    max_abs_error: float
    timings: Mapping[str, Timing]
    engine: str | None = None
    degree: int | None = None
    threads: int = 1

    def entry(self) -> dict[str, Any]:
        """Return one entry of the document's ``results``; a step that is absent is null."""
        timed = {step: self.timings[step] for step in STEPS if step in self.timings}
        partly = [step for step, timing in timed.items() if timing.extrapolated]
        return {
            "system": self.system,
            "engine": self.engine,
            "bits": self.bits,
            "security_bits": self.security_bits,
            "randomiser": self.randomiser,
            "degree": self.degree,
            "threads": self.threads,
            **{f"{step}_s": _rounded(timed[step].cpu) if step in timed else None for step in STEPS},
            "bytes_per_parameter": round(self.bytes_per_parameter, 3),
            "max_abs_error": self.max_abs_error,
            "extrapolated": bool(partly),
            "extrapolated_steps": partly,
            "measured": {step: timing.measured for step, timing in timed.items()},
            "wall_s": {step: _rounded(timing.wall) for step, timing in timed.items()},
        }


def _rounded(seconds: float) -> float:
    """Keep four significant digits."""
    return float(f"{seconds:.4g}")
