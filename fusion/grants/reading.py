"""Grants and requests as people write them: plain YAML (:mod:`fusion.wire.plain_yaml`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fusion.errors import GrantInvalid
from fusion.grants.document import Grant, broken_rules
from fusion.grants.request import Request
from fusion.wire.plain_yaml import Written

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from fusion.wire.plain_yaml import KeyPath

    Mistakes = Callable[[Grant], Iterable[tuple[KeyPath, str, str]]]
    """Returns what is wrong with a grant where it is read: path, message and hint."""


def parse_grant(text: str, origin: str, mistakes: Mistakes | None = None) -> Grant:
    """Read a grant that a person wrote.

    Args:
        text: YAML.
        origin: The file's name, for messages.
        mistakes: Looks for what more can be wrong; the first is raised.

    Raises:
        GrantInvalid: Not YAML as it is read here, or a rule is broken; names the line.
    """
    written = Written(origin, GrantInvalid)
    grant = written.read(Grant, text)
    for path, message in broken_rules(grant):
        raise written.fail(path, message)
    for path, message, hint in () if mistakes is None else mistakes(grant):
        raise written.fail(path, message, hint)
    return grant


def parse_request(text: str, origin: str) -> Request:
    """Read a request that a person or a program wrote.

    Raises:
        GrantInvalid: Not YAML as it is read here, or not a request; names the line.
    """
    return Written(origin, GrantInvalid).read(Request, text)
