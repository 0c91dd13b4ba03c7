"""How a party stands in a vertical run, as the hub reads it: closed, of bounded size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal

from pydantic import Field, ValidationError

from federated.study_document import Section
from federated.vertical.keeping import Mark
from fusion.errors import MessageInvalid

_MAX: Final = 2**31 - 1

Count = Annotated[int, Field(ge=0, le=_MAX)]
Measure = Annotated[float, Field(ge=-1e9, le=1e9, allow_inf_nan=False)] | None
Ending = Literal["again", "final", "echo"]
"""Why an attempt ended at a party: cut off, another may help; for good; because a peer ended it."""


class Measures(Section):
    """A measure on rows that train and that judge."""

    train: Measure = None
    test: Measure = None


class Quality(Section):
    """What the label party tells of a model."""

    metric: Literal["auc", "r2", "deviance explained"]
    joint: Measures
    alone: Measures


class FailureSection(Section):
    """Why an attempt ended."""

    code: Annotated[str, Field(pattern=r"^[A-Z]-\d{2,3}$")]
    message: Annotated[str, Field(min_length=1, max_length=2000)]
    exit_code: Annotated[int, Field(ge=1, le=6)]
    kind: Ending
    blames: Annotated[str, Field(max_length=63)] = ""


class _Document(Section):
    state: Literal["ready", "aligning", "training", "done", "failed"]
    attempt: Count
    step: Count
    rows: tuple[Count, Count] | None
    bytes: Annotated[int, Field(ge=0, le=2**53 - 1)]
    aligning: Annotated[int, Field(ge=0, le=2**53 - 1)] = 0
    part: Annotated[str, Field(pattern=r"^([0-9a-f]{64})?$")]
    quality: Quality | None
    told: Annotated[str, Field(pattern=r"^([0-9a-f]{2}){0,4096}$")]
    failure: FailureSection | None
    marks: Annotated[tuple[tuple[Count, Count], ...], Field(max_length=64)]


@dataclass(frozen=True, slots=True)
class Standing:
    """A party's own word for how it stands; see :class:`federated.vertical.attempts.Standing`."""

    state: str
    attempt: int
    step: int
    rows: tuple[int, int] | None
    bytes: int
    aligning: int
    part: str
    quality: dict[str, Any] | None
    told: str
    failure: FailureSection | None
    marks: tuple[Mark, ...]


@dataclass(frozen=True, slots=True)
class Heard:
    """When a party was last heard, and how it stood; None if it knew nothing of the run."""

    at: float
    standing: Standing | None


def read_standing(organisation: str, value: object) -> Standing:
    """Read what a party says.

    Raises:
        MessageInvalid: It is not well formed.
    """
    try:
        found = _Document.model_validate(_tuples(value))
    except ValidationError:
        msg = f"What {organisation} says of the run is not well formed."
        raise MessageInvalid(msg) from None
    return Standing(
        state=found.state,
        attempt=found.attempt,
        step=found.step,
        rows=found.rows,
        bytes=found.bytes,
        aligning=found.aligning,
        part=found.part,
        quality=None if found.quality is None else found.quality.model_dump(),
        told=found.told,
        failure=found.failure,
        marks=tuple(Mark(*mark) for mark in found.marks),
    )


def _tuples(value: Any) -> Any:  # noqa: ANN401 - any JSON value
    if isinstance(value, dict):
        return {key: _tuples(item) for key, item in value.items()}
    return tuple(map(_tuples, value)) if isinstance(value, list) else value
