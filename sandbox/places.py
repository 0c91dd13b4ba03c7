"""Where in a statement a refusal is about: the innermost part of it that was looked at."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from fusion.errors import QueryRefused

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlglot import exp


@contextmanager
def placed(node: exp.Expr) -> Iterator[None]:
    """Give a refusal the place of a node, unless it has one.

    Raises:
        QueryRefused: What was raised within, with its ``start``.
    """
    try:
        yield
    except QueryRefused as error:
        if error.start is None:
            error.start = _start(node)
        raise


def _start(node: exp.Expr) -> int | None:
    """Return the first character of a node, as far as its parts know theirs."""
    found = [part.meta["start"] for part in node.walk() if "start" in part.meta]
    return min(found, default=None)
