"""How long Flower waits before it looks again for an object that is still being uploaded.

Flower makes a message visible before its objects are stored, and a reader that comes early backs
off for 1, 2, 4 ... seconds. That is the whole difference between 9 s and a fraction of a second
for one exchange. The intervals are keyword defaults of two functions; this file sets them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypedDict

from flwr.supercore.inflatable import inflatable_utils

from fusion.errors import EnvironmentUnfit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


class Patience(TypedDict):
    """Keyword arguments of Flower's pull functions."""

    initial_backoff: float
    backoff_cap: float
    max_tries_per_object: int | None


PATIENCE: Final[Patience] = {
    "initial_backoff": 0.02,
    "backoff_cap": 0.25,
    # Tries are bounded by time; by number, a slow upload would be given up after seconds.
    "max_tries_per_object": None,
}


_PULLING: Final = (
    inflatable_utils.pull_objects,
    inflatable_utils.pull_and_inflate_object_from_tree,
)


def shorten(functions: Iterable[Callable[..., Any]] = _PULLING) -> None:
    """Set the defaults in this process; doing it again changes nothing.

    Raises:
        EnvironmentUnfit: Flower's functions no longer have these parameters.
    """
    for function in functions:
        defaults: dict[str, Any] | None = getattr(function, "__kwdefaults__", None)
        missing = PATIENCE.keys() - (defaults or {}).keys()
        if defaults is None or missing:
            msg = f"Flower's {function!r:.80} no longer takes {', '.join(sorted(missing))}."
            raise EnvironmentUnfit(
                msg, hint="Install the flwr version that requirements.lock names."
            )
        defaults.update(PATIENCE)
