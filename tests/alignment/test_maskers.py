"""A scalar at work in other processes does what it does in this one."""

from __future__ import annotations

import hashlib
import multiprocessing
from pathlib import Path

import pytest

from fusion.crypto.ristretto import selection
from fusion.crypto.ristretto.group import LocalMasker, PointRefused, Scalar
from fusion.crypto.ristretto.selection import current
from fusion.crypto.ristretto.sodium import SodiumGroup
from fusion.errors import EnvironmentUnfit
from fusion.services.maskers import PART, ProcessMasker, maskers
from tests.crypto.test_ristretto_kernels import here


def test_processes_give_the_same_bytes_and_name_the_same_point() -> None:
    scalar = Scalar.fresh()
    secret = bytes(scalar.held)
    digests = b"".join(hashlib.sha512(b"%d" % at).digest() for at in range(2 * PART + 3))
    here = LocalMasker(Scalar(secret), current())
    others = set(multiprocessing.active_children())
    masker = ProcessMasker(2, scalar)
    try:
        points = here.mask(digests)
        assert masker.mask(digests) == points
        assert masker.multiply(points) == here.multiply(points)
        bad = points[: 32 * (PART + 5)] + bytes(32) + points[32 * (PART + 6) :]
        with pytest.raises(PointRefused) as caught:
            masker.multiply(bad)
        assert (caught.value.index, caught.value.fault) == (PART + 5, "identity")
        workers = [each for each in multiprocessing.active_children() if each not in others]
        assert workers
        for worker in workers:
            folder = Path(f"/proc/{worker.pid}")
            for place in ("cmdline", "environ"):
                shown = (folder / place).read_bytes()
                assert secret not in shown
                assert secret.hex().encode() not in shown
        workers[0].kill()
        workers[0].join()
        with pytest.raises(EnvironmentUnfit, match="ended from outside"):
            masker.multiply(points)
    finally:
        masker.close()
    assert not any(worker.is_alive() for worker in workers)


def test_sets_are_masked_in_this_process_or_in_others(monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(maskers(1000)(Scalar.fresh()), LocalMasker)
    assert isinstance(maskers(10**6, workers=1)(Scalar.fresh()), LocalMasker)
    monkeypatch.setattr("fusion.services.maskers.current", SodiumGroup)
    assert isinstance(maskers(1000)(Scalar.fresh()), LocalMasker)
    asked = maskers(10, workers=2)(Scalar.fresh())
    assert isinstance(asked, ProcessMasker)
    asked.close()


@here("avx2")
def test_threads_share_an_array() -> None:
    scalar = Scalar.fresh()
    digests = b"".join(hashlib.sha512(b"%d" % at).digest() for at in range(3000))
    alone, shared = (selection.named("avx2", threads) for threads in (1, 3))
    points = alone.from_uniform(digests)
    assert shared.from_uniform(digests) == points
    assert shared.multiply(scalar, points) == alone.multiply(scalar, points)
