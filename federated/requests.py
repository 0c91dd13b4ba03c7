"""Reading the head of a request: what is missing or of another kind is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fusion.errors import MessageInvalid

if TYPE_CHECKING:
    from collections.abc import Mapping


def text(head: Mapping[str, Any], name: str) -> str:
    """Read a text from a request's head.

    Raises:
        MessageInvalid: It is missing or no text.
    """
    value = head.get(name)
    if not isinstance(value, str):
        msg = f"A request lacks {name!r}."
        raise MessageInvalid(msg)
    return value


def number(head: Mapping[str, Any], name: str) -> int:
    """Read a small number from a request's head.

    Raises:
        MessageInvalid: It is missing or no such number.
    """
    value = head.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**31:
        msg = f"{name!r} of a request is no number."
        raise MessageInvalid(msg)
    return value


def texts(head: Mapping[str, Any], name: str) -> list[str]:
    """Read a list of texts from a request's head; empty when it is missing.

    Raises:
        MessageInvalid: It is something else.
    """
    value = head.get(name, [])
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        msg = f"{name!r} of a request is not a list of texts."
        raise MessageInvalid(msg)
    return value
