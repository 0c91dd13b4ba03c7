"""What a run gave, as a holder keeps it: the model's facts out of study and run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from federated.requests import text
from federated.vertical.aligning import FIELD
from fusion.errors import MessageInvalid, Refused
from fusion.services.model_facts import Holder, Identifier, ModelFacts, Own, Shared, model_name

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from federated.vertical.study import VerticalStudy


def facts_of_run(
    me: str,
    job: str,
    study: VerticalStudy,
    standing: Mapping[str, Any],
    told: Mapping[str, Any],
    *,
    schema: str,
    grants: Sequence[str],
    leaks: Mapping[str, Any] | None,
) -> ModelFacts:
    """Return what a party keeps of a finished model.

    Args:
        me: The party.
        job: The run.
        study: The study.
        standing: How this party stands.
        told: What the hub tells all: ``parts`` by organisation, ``steps`` and ``made``.
        schema: Digest of the schema of the party's table.
        grants: Under which it took part.
        leaks: The leak report and its verdict, where the party made one.

    Raises:
        MessageInvalid: What the hub tells is not well formed.
        Refused: It is about another part than this party has.
    """
    parts, steps = _told(study.organisations, told)
    if parts[me] != standing["part"]:
        raise Refused(f"The hub tells another part of {me} than it has.")
    party = study.party(me)
    own = Own(
        organisation=me,
        dataset=party.dataset,
        identifier=party.identifier,
        columns=party.columns,
        label=party.label,
        schema_digest=schema,
        grants=tuple(grants),
    )
    try:
        shared = _shared(job, study, standing, parts, steps, text(told, "made"))
    except ValidationError:
        raise MessageInvalid("What the hub tells of the model is not well formed.") from None
    return ModelFacts(
        shared=shared,
        own=own,
        metrics=standing["quality"] or {},
        leakage=None if leaks is None else dict(leaks),
    )


def _told(organisations: Sequence[str], told: Mapping[str, Any]) -> tuple[dict[str, str], int]:
    """Return what the hub tells of all parties' parts, and of steps.

    Raises:
        MessageInvalid: It is not well formed.
    """
    parts, steps = told.get("parts"), told.get("steps")
    if not isinstance(parts, dict) or set(parts) != set(organisations):
        raise MessageInvalid("The hub does not tell what all parties have.")
    if not isinstance(steps, int) or isinstance(steps, bool):
        raise MessageInvalid("The hub does not tell after how many steps.")
    return parts, steps


def _shared(
    job: str,
    study: VerticalStudy,
    standing: Mapping[str, Any],
    parts: Mapping[str, str],
    steps: int,
    made: str,
) -> Shared:
    """Return what every holder keeps alike."""
    training, judging = standing["rows"]
    return Shared(
        name=model_name(study.name, study.digest()),
        study=study.digest(),
        job=job,
        kind=study.model.kind,
        operator=study.operator,
        purpose=study.purpose,
        identifier=Identifier(
            field=FIELD,
            kind=study.identifiers.kind,
            duplicates=study.identifiers.duplicates,
            fold=study.identifiers.fold,
        ),
        holders=tuple(
            Holder(
                organisation=name,
                role="label" if name == study.cast.label else "feature",
                dataset=study.party(name).dataset,
                part=parts[name],
            )
            for name in study.organisations
        ),
        rows_aligned=training + judging,
        rows_training=training,
        steps=steps,
        made=made,
    )
