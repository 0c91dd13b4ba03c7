"""Discrete Gaussian noise a second, and beside it encryption: ``python -m benchmarks.noise``.

Draws noise as a contribution to a private sum does: one sample a parameter, from the operating
system's generator. Prints the rate on one thread for several sigma.
"""

from __future__ import annotations

import time

from fusion.crypto.gaussian import discrete_gaussian

SAMPLES = 1_000_000
SIGMAS = (1, 77, 1 << 12, 1 << 16, 1 << 20, 1 << 25)


def main() -> None:
    """Print seconds for a million samples, the best of three, and samples a second."""
    print(f"{'sigma':>10}  {'s a million':>11}  {'a second':>12}")
    for sigma in SIGMAS:
        best = float("inf")
        for _ in range(3):
            began = time.perf_counter()
            discrete_gaussian(sigma, SAMPLES)
            best = min(best, time.perf_counter() - began)
        print(f"{sigma:10,}  {best:11.3f}  {SAMPLES / best:12,.0f}")


if __name__ == "__main__":
    main()
