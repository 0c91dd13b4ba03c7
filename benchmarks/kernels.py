"""Montgomery multiplications a second, as a fraction of what the vector unit can do at all.

``python -m benchmarks.kernels [--seconds 0.3] [--json]``

One core. For ``ifma`` the ceiling is the measured rate of the fused multiply-add on independent
accumulators (vpmadd52): a multiplication of L limbs takes 4 L^2 of them, a squaring 3 L^2. For
``avx2`` it is the rate of multiply-and-add on 32-bit halves, 2 L^2 and 1.5 L^2.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from fusion.crypto.paillier.engines import selection
from fusion.crypto.paillier.engines.arrays import aligned
from fusion.crypto.paillier.engines.kernels.digits import DigitRing
from fusion.crypto.paillier.engines.kernels.llvm import LlvmProgram
from fusion.crypto.paillier.engines.kernels.shape import AVX2, IFMA
from fusion.crypto.paillier.engines.layout import RingLayout
from fusion.crypto.paillier.engines.processor import Code, compile_program

if TYPE_CHECKING:
    from collections.abc import Callable

    from fusion.crypto.paillier.engines.kernels.shape import Shape
    from fusion.crypto.paillier.engines.kernels.vocabulary import Machine, Number, Place, Vector

BITS = (1024, 1536, 2048, 3072, 4096, 6144)
_ACCUMULATORS = 12
_TURNS = 200_000


@dataclass(frozen=True, slots=True)
class Figure:
    """One kernel at one size."""

    engine: str
    operation: str
    bits: int
    nanoseconds: float
    a_second: float
    of_peak: float


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--seconds", type=float, default=0.3, help="time for each figure")
    parser.add_argument("--json", action="store_true", help="one document on stdout")
    options = parser.parse_args()
    figures: list[Figure] = []
    peaks: dict[str, float] = {}
    for shape in (IFMA, AVX2):
        reason = selection.unavailable(shape.name)
        if reason:
            if not options.json:
                print(f"{shape.name} is left out: {reason}")
            continue
        peaks[shape.name] = peak(shape, options.seconds)
        figures += [
            figure(shape, bits, operation, peaks[shape.name], options.seconds)
            for bits in BITS
            for operation in ("multiply", "square")
        ]
    if options.json:
        document = {
            "schema": "fusion.bench-kernels/1",
            "peak_a_second": peaks,
            "results": [asdict(f) for f in figures],
        }
        print(json.dumps(document, indent=2))
        return
    for name, rate in peaks.items():
        print(f"{name}: {rate / 1e9:.2f} G multiply-adds a second, a vector each")
    heads = ("engine", "operation", "bits", "ns a residue", "M a second", "of peak")
    print("{:<8}{:<12}{:>6}{:>14}{:>12}{:>9}".format(*heads))
    for f in figures:
        rate = f.a_second / 1e6
        print(
            f"{f.engine:<8}{f.operation:<12}{f.bits:>6}{f.nanoseconds:>14.1f}{rate:>12.2f}"
            f"{f.of_peak:>9.0%}"
        )


def peak(shape: Shape, seconds: float) -> float:
    """Return multiply-adds of a vector a second, on accumulators that wait for nobody."""

    def text(m: Machine, place: Place, turns: Number) -> None:
        factors = [m.load(place, i) for i in range(_ACCUMULATORS)]

        def turn(_: Number, x: Vector, *sums: Vector) -> list[Vector]:
            # Another factor each turn, so that no product is computed once for all.
            products = zip(sums, factors, strict=True)
            return [m.add(x, factors[0]), *(m.lo(s, x, y) for s, y in products)]

        sums = m.loop(0, turns, 1, [factors[0], *factors], turn)
        for i, value in enumerate(sums[1:]):
            m.store(value, place, i)

    program = LlvmProgram(shape)
    program.define("peak", "pi", text, exported=True)
    run = Code(compile_program(program.module, shape), shape).functions({"peak": "pi"})["peak"]
    memory = aligned((_ACCUMULATORS, shape.lanes))
    memory[:] = 12345
    return _ACCUMULATORS * _TURNS / best(lambda: run(memory.ctypes.data, _TURNS), seconds)


def figure(shape: Shape, bits: int, operation: str, rate: float, seconds: float) -> Figure:
    """Time a chain of multiplications or squarings."""
    modulus = (1 << bits) - 159
    layout = RingLayout(shape, modulus, 1)

    program = LlvmProgram(shape)
    ring = DigitRing(program, layout.size, 1)

    def text(m: Machine, c: Place, x: Place, y: Place, turns: Number) -> None:
        q, z = m.scratch(ring.limbs), m.scratch(ring.limbs)

        def turn(_: Number) -> None:
            if operation == "multiply":
                ring.times_digit(m, c, ring.digit(m, x), y, q)
            else:
                for source, target in ((x, z), (z, x)):
                    ring.squared(m, c, ring.digit(m, target), ring.digit(m, source), q, q)

        m.loop(0, turns, 1, (), turn)

    program.define("chain", "pppi", text, exported=True)
    code = Code(compile_program(program.module, shape), shape)
    run = code.functions({"chain": "pppi"})["chain"]
    x, y = layout.residue(modulus // 3), layout.residue(modulus // 5)
    addresses = (layout.constants.ctypes.data, x.ctypes.data, y.ctypes.data)
    operations = 200 * (1 if operation == "multiply" else 2)
    each = best(lambda: run(*addresses, 200), seconds) / operations
    terms = (4 if shape.high else 2) * layout.size.limbs**2
    terms = terms if operation == "multiply" else terms * 3 // 4
    return Figure(
        engine=shape.name,
        operation=operation,
        bits=bits,
        nanoseconds=1e9 * each / shape.lanes,
        a_second=shape.lanes / each,
        of_peak=terms / rate / each,
    )


def best(call: Callable[[], Any], seconds: float) -> float:
    """Return the shortest CPU time of a call, over ``seconds`` of calls."""
    shortest, until = float("inf"), time.process_time() + seconds
    while time.process_time() < until:
        began = time.process_time()
        call()
        shortest = min(shortest, time.process_time() - began)
    return shortest


if __name__ == "__main__":
    main()
