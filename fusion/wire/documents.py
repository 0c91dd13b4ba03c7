"""Closed documents that are signed: what they all can, and how one is read back.

A document is signed as canonical JSON (RFC 8785) with its defaults stated, so that the same content
has the same bytes, and the digest of the bytes names it.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from fusion.errors import MessageInvalid
from fusion.wire import canonical

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    Broken = Iterable[tuple[tuple[str | int, ...], str]]
    """Rules between fields that are broken: where, and which."""


class Part(BaseModel):
    """Strict, closed, frozen; an error never quotes the input."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, hide_input_in_errors=True)


class Document(Part):
    """A model whose canonical bytes are what is signed."""

    def document(self) -> dict[str, Any]:
        """Return it as JSON values, defaults stated."""
        return self.model_dump(mode="json", by_alias=True)

    def canonical(self) -> bytes:
        """Return the bytes that are signed (RFC 8785)."""
        return canonical.encode(self.document())

    @property
    def digest(self) -> str:
        """SHA-256 of the bytes that are signed, in hexadecimal."""
        return hashlib.sha256(self.canonical()).hexdigest()


_Read = TypeVar("_Read", bound=Document)


def read(
    data: bytes, model: type[_Read], what: str, limit: int, broken: Callable[[_Read], Broken]
) -> _Read:
    """Read the bytes that were signed, by the same rules as a file that a person wrote.

    Args:
        data: The bytes.
        model: What they have to be.
        what: Its name, for messages.
        limit: Most bytes.
        broken: Yields the rules between fields that it breaks.

    Raises:
        MessageInvalid: Too large, not canonical JSON, or not a document that keeps every rule.
    """
    canonical.decode(data, limit)
    try:
        found = model.model_validate_json(data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"])) or "the document"
        raise MessageInvalid(f"A {what} is not well formed: {where}: {first['msg']}.") from None
    for path, message in broken(found):
        raise MessageInvalid(f"A {what} is not well formed: {'.'.join(map(str, path))}: {message}")
    if found.canonical() != data:
        raise MessageInvalid(f"A {what} does not state its defaults.")
    return found
