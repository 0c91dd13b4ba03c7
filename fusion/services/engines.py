"""Finds the engines by entry point, so that this package imports none of them."""

from __future__ import annotations

from functools import cache
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Final

from fusion.errors import EnvironmentUnfit

if TYPE_CHECKING:
    from fusion.ports import TrainingEngine

_GROUP: Final = "fusion.engines"


@cache
def training() -> TrainingEngine:
    """Return the training engine.

    Raises:
        EnvironmentUnfit: None is installed, or more than one.
    """
    found = list(entry_points(group=_GROUP, name="training"))
    if len(found) != 1:
        msg = f"{len(found)} training engines are installed; one is needed."
        raise EnvironmentUnfit(
            msg, hint="Install banyan-fusion again, in an environment of its own."
        )
    engine: TrainingEngine = found[0].load()
    return engine
