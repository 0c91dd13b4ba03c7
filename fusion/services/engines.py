"""Finds the engines by entry point, so that this package imports none of them."""

from __future__ import annotations

from functools import cache
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Final

from fusion.errors import EnvironmentUnfit

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

    from fusion.ports import IsolationDiagnosis, TrainingEngine

_GROUP: Final = "fusion.engines"


@cache
def training() -> TrainingEngine:
    """Return the training engine.

    Raises:
        EnvironmentUnfit: None is installed, or more than one.
    """
    engine: TrainingEngine = _only("training").load()
    return engine


@cache
def isolation() -> IsolationDiagnosis:
    """Return what knows how untrusted work is confined.

    Raises:
        EnvironmentUnfit: None is installed, or more than one.
    """
    diagnosis: IsolationDiagnosis = _only("isolation").load()
    return diagnosis


def _only(name: str) -> EntryPoint:
    found = list(entry_points(group=_GROUP, name=name))
    if len(found) != 1:
        msg = f"{len(found)} engines named {name} are installed; one is needed."
        raise EnvironmentUnfit(
            msg, hint="Install banyan-fusion again, in an environment of its own."
        )
    return found[0]
