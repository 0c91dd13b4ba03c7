"""What a run rests on, as far as a home knows it: its grants, and what its model tells.

A run's record comes from the hub, which has no leak report. Whoever orders a run has grants; the
label party has the leak report, in what it keeps of the model.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fusion.services.grants import folder_of
from fusion.services.homes import NodeHome
from fusion.services.models import model_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from fusion.services.grants import Home, Kept


def basis_of(home: Home, record: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a home adds to the record of a vertical run; nothing to another one.

    Returns:
        ``grants``: those that it knows from a party of the run to its operator, for what the run
        does; ``leakage``: report and verdict, where the home is the label party's and kept the
        model.

    Raises:
        VerificationFailed: A grant or the model's facts were changed.
    """
    if record.get("kind") != "vertical":
        return {}
    parties = {str(each) for each in record.get("organisations", [])}
    found = [
        granted(kept)
        for kept in folder_of(home).all()
        if kept.signed.grant.assignee == record.get("operator")
        and parties.issuperset(kept.signed.grant.assigners)
        and kept.signed.grant.purpose == record.get("purpose")
        and {"align", "train"} & set(_actions(kept))
    ]
    model = str((record.get("model_kept") or {}).get("model", ""))
    kept_model = model_of(home, model) if isinstance(home, NodeHome) and model else None
    return {
        "grants": found,
        "leakage": None if kept_model is None else kept_model.facts.leakage,
    }


def granted(kept: Kept) -> dict[str, Any]:
    """Return a grant as a report shows it."""
    grant = kept.signed.grant
    return {
        "id": kept.signed.id,
        "title": grant.title,
        "for": _actions(kept),
        "from": list(grant.assigners),
        "to": grant.assignee,
        "dataset": grant.dataset.id,
        "purpose": grant.purpose,
        "not_before": grant.not_before,
        "not_after": grant.not_after,
        "standing": kept.standing.value.lower(),
    }


def all_granted(homes: Iterable[Home]) -> list[dict[str, Any]]:
    """Return every grant that any of these homes knows, each once."""
    found = {kept.signed.id: kept for home in homes for kept in folder_of(home).all()}
    return [granted(kept) for kept in found.values()]


def _actions(kept: Kept) -> list[str]:
    actions = ("train", "align", "query", "score", "mock")
    return [each for each in actions if kept.signed.grant.permission(each) is not None]
