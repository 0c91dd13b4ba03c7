"""Canonical JSON (RFC 8785): one value, one sequence of bytes, in both directions.

The decoder accepts nothing that the encoder would not have written, so that two readers can't
understand one document differently: no duplicate keys, no other spelling of a number, no blanks.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final, NoReturn

import rfc8785

from fusion.errors import MessageInvalid
from fusion.wire.limits import MAX_DEPTH, MAX_DOCUMENT_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterable

_LARGE: Final = 2.0**53
_EXPONENT: Final = 1e21
"""From here on RFC 8785 writes an exponent, so that the number is read as a float again."""


def encode(value: Any) -> bytes:  # noqa: ANN401 - any JSON value
    """Return the canonical bytes of a JSON value.

    Raises:
        MessageInvalid: It has no canonical form: bytes, sets, NaN, integers beyond 2**53, keys that
            are no strings, more than 32 levels, or a float that would be written as an integer
            beyond 2**53.
    """
    try:
        _check(value)
        return rfc8785.dumps(value)
    except (ValueError, RecursionError):
        # The library's message can quote the value.
        raise MessageInvalid("A value has no canonical JSON form (RFC 8785).") from None


def decode(data: bytes, limit: int = MAX_DOCUMENT_BYTES) -> Any:  # noqa: ANN401 - any JSON value
    """Return the value of a canonical JSON document.

    Raises:
        MessageInvalid: Too large, no JSON, nested too deeply, a key twice, or not canonical.
    """
    if len(data) > limit:
        raise MessageInvalid(f"A JSON document has {len(data)} bytes; {limit} is the limit.")
    try:
        value = json.loads(
            data.decode("utf-8"),
            object_pairs_hook=_without_duplicates,
            parse_constant=_refuse_constant,
        )
    except RecursionError:
        raise MessageInvalid(f"A JSON document is nested more than {MAX_DEPTH} deep.") from None
    except ValueError:  # UnicodeDecodeError and JSONDecodeError are ValueErrors
        raise MessageInvalid("A message is not a JSON document.") from None
    if encode(value) != data:
        raise MessageInvalid("A JSON document is not in canonical form (RFC 8785).")
    return value


def _check(value: object) -> None:
    """Raise if containers are nested more than 32 deep, or a number would come back as another.

    Level by level rather than by recursion: whoever sends the value decides on its depth.
    """
    level: list[object] = [value]
    for _ in range(MAX_DEPTH + 1):
        if any(isinstance(item, float) and _LARGE <= abs(item) < _EXPONENT for item in level):
            raise MessageInvalid("A number of a JSON document is beyond 2**53.")
        level = [item for container in level for item in _items(container)]
        if not level:
            return
    raise MessageInvalid(f"A JSON document is nested more than {MAX_DEPTH} deep.")


def _items(value: object) -> Iterable[object]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list | tuple) else ()


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise MessageInvalid("A JSON document has the same key twice in one object.")
    return members


def _refuse_constant(_name: str) -> NoReturn:
    raise MessageInvalid("NaN and infinity are not JSON.")
