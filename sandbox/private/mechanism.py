"""Noise on whole numbers: OpenDP's discrete Gaussian, checked against our own arithmetic.

OpenDP (0.16) samples exactly (Canonne, Kamath & Steinke, NeurIPS 2020), from the operating system's
generator; no float is added to anything. Its scale is a float: it is taken above the sigma that is
needed, and both our fractions and OpenDP's own privacy map have to say that rho is kept. OpenDP is
an extra of the installation, since it is large; it is imported when it is first needed.
"""

from __future__ import annotations

from fractions import Fraction
from math import inf, nextafter
from typing import TYPE_CHECKING, Any, Final

from fusion.errors import EnvironmentUnfit
from sandbox.private.plan import root_above

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sandbox.private.plan import Noise

LARGEST: Final = 2**62
"""A sum beyond this is read as this: 64 bits hold it with its noise. Cutting off moves nothing."""

_ABOVE: Final = Fraction(1, 10**12)
"""Share by which sigma is taken above what is needed, for the rounding of OpenDP's own map."""


def check_available() -> None:
    """Return if there is a source of noise.

    Raises:
        EnvironmentUnfit: OpenDP is not installed.
    """
    _library()


def _library() -> Any:  # noqa: ANN401 - the module
    try:
        import opendp.prelude as library  # noqa: PLC0415 - an optional extra, and slow to import
    except ImportError:
        raise EnvironmentUnfit(
            "Differential privacy is asked for, and OpenDP is not installed.",
            hint='Install it: pip install "banyan-fusion[dp]".',
        ) from None
    library.enable_features("contrib")
    return library


def sigma_of(noise: Noise) -> float:
    """Return the parameter of the noise, in units of the sum: at least what rho asks for."""
    sigma = nextafter(float(root_above(noise.variance) * (1 + _ABOVE)), inf)
    if Fraction(sigma) ** 2 < noise.variance:
        raise AssertionError  # a float above a root, squared, is above
    return sigma


def noisy(values: Sequence[int], noise: Noise) -> list[int]:
    """Return a sum's vector with noise, one independent sample for each number.

    Args:
        values: Exact, in units; one for each group that there could be.
        noise: What is added.

    Raises:
        EnvironmentUnfit: OpenDP is not installed, or does not agree that rho is kept.
    """
    library = _library()
    space = library.vector_domain(library.atom_domain(T="i64")), library.l2_distance(T="f64")
    mechanism = library.m.make_gaussian(*space, scale=sigma_of(noise))
    distance = nextafter(float(root_above(Fraction(noise.squared))), inf)
    if Fraction(mechanism.map(distance)) > noise.rho:
        raise EnvironmentUnfit("OpenDP does not agree that this noise keeps its budget.")
    cut = [max(-LARGEST, min(LARGEST, each)) for each in values]
    return [int(each) for each in mechanism(cut)] if cut else []
