"""Which engine runs: as asked, as possible, and GMP with a warning where neither goes."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest

from fusion.crypto.paillier.engines import selection
from fusion.crypto.paillier.engines.kernels.shape import AVX2, IFMA
from fusion.crypto.paillier.engines.vector import EngineWarning, VectorEngine, VectorRing
from fusion.crypto.paillier.residues import rows_of
from tests.keys import numbers

if TYPE_CHECKING:
    from collections.abc import Callable

FASTEST = next(name for name in selection.NAMES if selection.unavailable(name) is None)
VECTOR = pytest.mark.skipif(FASTEST == "gmp", reason="this machine has GMP only")
PRINT = (
    "from fusion.crypto.paillier.engines import selection;"
    "c = selection.choice(); r = c.engine.ring(10**300 + 1, 2);"
    "import numpy as np; print(c.engine.name, '|', c.reason, '|',"
    " int(r.power(np.array([[3]], np.uint8), 7).sum()))"
)


def _run(prefix: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", prefix + PRINT],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )


def test_without_a_wish_the_fastest_engine_runs() -> None:
    choice = selection.choose("")
    assert choice.engine.name == FASTEST
    assert choice.reason


@pytest.mark.parametrize("name", selection.NAMES)
def test_the_variable_names_the_engine(name: str) -> None:
    if selection.unavailable(name):
        pytest.skip(str(selection.unavailable(name)))
    done = _run(FUSION_PAILLIER_ENGINE=name)
    assert done.stdout.startswith(f"{name} | FUSION_PAILLIER_ENGINE={name} | "), done.stderr


def test_an_unknown_engine_is_replaced_with_a_warning() -> None:
    with pytest.warns(EngineWarning, match="no engine 'abacus'"):
        choice = selection.choose("abacus")
    assert choice.engine.name == "gmp"
    assert "abacus" in choice.reason


@VECTOR
def test_where_memory_may_not_be_made_executable_gmp_runs() -> None:
    # PR_SET_MDWE (65), PR_MDWE_REFUSE_EXEC_GAIN (1): what MemoryDenyWriteExecute of systemd sets.
    deny = "import ctypes; denied = ctypes.CDLL(None).prctl(65, 1, 0, 0, 0);"
    done = _run(deny + "import sys; sys.exit(9) if denied else None;")
    if done.returncode == 9:
        pytest.skip("this kernel can't deny executable memory")
    name, reason, _ = done.stdout.split(" | ")
    assert name == "gmp", done.stderr
    assert "executable" in reason


@VECTOR
def test_where_making_memory_executable_fails_gmp_runs() -> None:
    """A stand-in for libc, loaded first, refuses mprotect with PROT_EXEC."""
    refuse = (
        "import ctypes; real = ctypes.CDLL\n"
        "class Refusing:\n"
        "    def prctl(self, *a): return -1\n"
        "    def mprotect(self, start, size, flags): return -1 if flags & 4 else 0\n"
        "ctypes.CDLL = lambda n, *a, **k: real(n, *a, **k) if n else Refusing()\n"
    )
    done = _run(refuse)
    assert done.stdout.startswith("gmp | "), done.stderr
    assert "executable" in done.stdout


@pytest.mark.parametrize("shape", [IFMA, AVX2], ids=lambda shape: shape.name)
def test_without_the_instructions_nothing_is_compiled(shape: object) -> None:
    """LLVM would abort the process; the features are asked before anything is parsed."""
    blind = (
        "import llvmlite.binding as b\n"
        "b.get_host_cpu_features = lambda: {}\n"
        "b.parse_assembly = None\n"
    )
    done = _run(blind)
    assert done.stdout.startswith("gmp | "), done.stderr
    assert f"{shape.name}: the processor lacks" in done.stdout  # type: ignore[attr-defined]


def test_without_llvmlite_gmp_runs() -> None:
    done = _run(
        "import sys; sys.modules['llvmlite'] = None; sys.modules['llvmlite.binding'] = None\n"
    )
    assert done.stdout.startswith("gmp | "), done.stderr
    assert "llvmlite is not installed" in done.stdout


@VECTOR
@pytest.mark.parametrize("operation", ["power", "fixed_base", "product", "multi_power"])
def test_an_engine_that_errs_is_put_aside_and_gmp_gives_the_answer(operation: str) -> None:
    engine = _Faulty(IFMA if FASTEST == "ifma" else AVX2)
    modulus = 10**300 + 1
    ring = engine.ring(modulus)
    rows = rows_of(range(1, 41), ring.width)
    calls: dict[str, Callable[[], object]] = {
        "power": lambda: numbers(ring.power(rows, 3)),
        "fixed_base": lambda: numbers(ring.fixed_base(2, 16).powers(rows_of(range(40), 2))),
        "product": lambda: numbers(ring.product([rows, rows])),
        "multi_power": lambda: ring.multi_power(rows, np.ones((40, 4), np.uint8)),
    }
    with pytest.warns(EngineWarning, match="does not agree with GMP"):
        found = calls[operation]()
    assert engine.name == "gmp"
    assert (
        found
        == {
            "power": [v**3 for v in range(1, 41)],
            "fixed_base": [2**v for v in range(40)],
            "product": [v * v for v in range(1, 41)],
            "multi_power": calls["multi_power"](),
        }[operation]
    )


class _Faulty(VectorEngine):
    """An engine whose constants are off by one bit, as a wrong kernel's results would be."""

    def ring(self, modulus: int, digits: object = 1) -> VectorRing:
        ring = super().ring(modulus, digits)  # type: ignore[arg-type]
        ring.layout.constants[0] ^= np.uint64(2)
        return ring


def test_an_engine_can_be_put_in_force_for_a_while() -> None:
    before = selection.current()
    with selection.using(selection.named("gmp")) as engine:
        assert selection.current() is engine
    assert selection.current() is before
