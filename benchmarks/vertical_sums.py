"""Encrypted sums by bin, of which trees are made: ours by engine, and sf-heu's where installed.

Microseconds of CPU a row and column, all threads together; sums are decrypted and compared.
"""

from __future__ import annotations

import importlib
import time
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from benchmarks.timing import progress
from federated import seeds
from fusion.crypto.paillier.engines import selection
from fusion.crypto.paillier.randomisers import Djn
from fusion.crypto.paillier.residues import integers, rows_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from fusion.crypto.paillier.keys import PrivateKey

BINS: Final = 32
_REPEATS: Final = 3


def measure_sums(key: PrivateKey, rows: int, columns: int) -> dict[str, Any]:
    """Measure each system on the same bins; return results, and what is missing and why."""
    draw = seeds.generator("bench-sums", rows, columns)
    values = draw.integers(0, 1 << 40, rows)
    bins = draw.integers(0, BINS, (rows, columns))
    sums = [np.bincount(b, weights=values, minlength=BINS) for b in bins.T]
    expected = np.stack(sums).astype(np.float64)
    results, missing = [], []
    for name in selection.NAMES:
        reason = selection.unavailable(name)
        if reason is None:
            progress(f"sums by bin with {name}")
            results.append(
                {"system": "Banyan", "engine": name, **_ours(name, key, values, bins, expected)}
            )
        else:
            missing.append({"system": f"Banyan {name}", "reason": reason})
    try:
        progress("sums by bin with sf-heu")
        results.append({"system": "sf-heu ZPaillier", "engine": "", **_heu(values, bins, expected)})
    except ImportError as error:
        missing.append({"system": "sf-heu", "reason": f"not installed ({error.name})"})
    return {"rows": rows, "columns": columns, "results": results, "missing": missing}


def _ours(
    name: str,
    key: PrivateKey,
    values: NDArray[np.int64],
    bins: NDArray[np.int64],
    expected: NDArray[np.float64],
) -> dict[str, float]:
    with selection.using(selection.named(name)):
        public = key.public
        rows = Djn(public).encrypt(rows_of(values.tolist(), public.plaintext_bytes))
        choices = bins.astype(np.uint8)
        found: list[Any] = []
        seconds = _best(lambda: found.append(public.ring.bucket_products(rows, choices, BINS)))
        plain = [int(v) for v in integers(key.decrypt(found[-1]))]
    return _result(seconds, bins, np.array(plain, np.float64).reshape(expected.shape), expected)


def _heu(
    values: NDArray[np.int64], bins: NDArray[np.int64], expected: NDArray[np.float64]
) -> dict[str, float]:
    """Measure its own way to do this, for a histogram that is not cumulated.

    Raises:
        ImportError: It is not installed.
    """
    scheme, heu = importlib.import_module("heu.phe"), importlib.import_module("heu.numpy")
    kit = heu.setup(scheme.SchemaType.ZPaillier, 2048)
    column = [[int(v)] for v in values]
    rows = kit.encryptor().encrypt(kit.array(column, scheme.BigintEncoderParams()))
    everybody = np.ones(len(values), np.int8)
    order = np.ascontiguousarray(bins.astype(np.int8))
    found: list[Any] = []
    evaluator = kit.evaluator()
    seconds = _best(
        lambda: found.append(evaluator.feature_wise_bucket_sum(rows, everybody, order, BINS, False))
    )
    plain = kit.decryptor().decrypt(found[-1]).to_numpy(scheme.BigintDecoder())
    sums = np.array([int(v) for v in plain.reshape(-1)], np.float64).reshape(expected.shape)
    return _result(seconds, bins, sums, expected)


def _result(
    seconds: float,
    bins: NDArray[np.int64],
    found: NDArray[np.float64],
    expected: NDArray[np.float64],
) -> dict[str, float]:
    """Return the time, if the sums are right.

    Raises:
        ArithmeticError: They are not.
    """
    if not np.array_equal(found, expected):
        msg = "What was decrypted is not the sum of what was encrypted."
        raise ArithmeticError(msg)
    return {"us_a_row_and_column": round(seconds / bins.size * 1e6, 3)}


def _best(action: Callable[[], object]) -> float:
    """Return the least seconds of CPU of a few calls, after one that may compile."""
    action()
    found = []
    for _ in range(_REPEATS):
        began = time.process_time()
        action()
        found.append(time.process_time() - began)
    return min(found)
