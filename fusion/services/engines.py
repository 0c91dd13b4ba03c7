"""Engines are found by name (entry points), so that this package imports none of them."""

from __future__ import annotations

from functools import cache
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any, Final

from fusion.errors import EnvironmentUnfit

if TYPE_CHECKING:
    from fusion.engine_ports import (
        IsolationDiagnosis,
        QueryEngine,
        Rr22Engine,
        ScoringEngine,
        TrainingEngine,
    )

_GROUP: Final = "fusion.engines"


@cache
def training() -> TrainingEngine:
    """Return the engine of training.

    Raises:
        EnvironmentUnfit: None is installed, or more than one.
    """
    engine: TrainingEngine = _load("training")
    return engine


@cache
def queries() -> QueryEngine:
    """Return the engine of restricted queries.

    Raises:
        EnvironmentUnfit: None is installed, or more than one.
    """
    engine: QueryEngine = _load("queries")
    return engine


@cache
def isolation() -> IsolationDiagnosis:
    """Return what knows how untrusted work is confined.

    Raises:
        EnvironmentUnfit: None is installed, or more than one.
    """
    diagnosis: IsolationDiagnosis = _load("isolation")
    return diagnosis


@cache
def scoring() -> ScoringEngine:
    """Return the engine that applies parts of joint models.

    Raises:
        EnvironmentUnfit: None is installed, or more than one.
    """
    engine: ScoringEngine = _load("scoring")
    return engine


@cache
def rr22() -> Rr22Engine:
    """Return what runs SecretFlow's RR22, confined.

    Raises:
        EnvironmentUnfit: None is installed, or more than one.
    """
    engine: Rr22Engine = _load("rr22")
    return engine


def _load(name: str) -> Any:  # noqa: ANN401 - an engine of any kind
    found = list(entry_points(group=_GROUP, name=name))
    if len(found) != 1:
        msg = f"{len(found)} engines of the kind {name!r} are installed; one is needed."
        raise EnvironmentUnfit(
            msg, hint="Install banyan-fusion again, in an environment of its own."
        )
    return found[0].load()
