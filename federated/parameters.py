"""A model's parameters as bytes, and the digest that binds them to a round."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from fusion.crypto.hashing import hexdigest
from fusion.errors import MessageInvalid
from fusion.wire import canonical

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray


def model_digest(parameters: bytes, standardisation: Mapping[str, Any]) -> str:
    """Return the digest of an incoming model, in hexadecimal."""
    return hexdigest("banyan/model/v1", parameters, canonical.encode(dict(standardisation)))


MAX_PARAMETER: Final = 1e6
_ATTEMPT_STEP: Final = 1_000_000
"""More than any study has rounds."""


def draw_of(round_number: int, attempt: int) -> int:
    """Return the number by which a party draws its batches.

    Another attempt at a round draws other batches: whoever got the sums of two attempts opened, by
    holders that collude, has a difference of two different updates, and not one party's update.
    """
    return round_number + _ATTEMPT_STEP * (attempt - 1)


def encode_parameters(parameters: NDArray[np.float64]) -> bytes:
    """Return parameters as little-endian float64."""
    return np.ascontiguousarray(parameters, dtype="<f8").tobytes()


def decode_parameters(data: bytes, size: int) -> NDArray[np.float64]:
    """Read parameters.

    Raises:
        MessageInvalid: Wrong length, not finite, or larger than any training leads to.
    """
    if len(data) != 8 * size:
        msg = f"A model of {len(data)} bytes came; {8 * size} were expected."
        raise MessageInvalid(msg)
    parameters = np.frombuffer(data, dtype="<f8").astype(np.float64)
    # Not only finite: from larger ones, overflow would depend on the data, and tell of it.
    if not (np.abs(parameters) <= MAX_PARAMETER).all():
        msg = f"The model that came holds a parameter that is no number up to {MAX_PARAMETER:g}."
        raise MessageInvalid(msg)
    return parameters
