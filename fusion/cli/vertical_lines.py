"""What the events of a vertical run say, as lines of text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Event = Mapping[str, Any]

NAMES: Final = {"auc": "AUC", "r2": "R²", "deviance explained": "deviance explained"}


def start_words(event: Event) -> str:
    """Return what is trained, and how columns stay apart; or what an alignment is to tell."""
    if event.get("kind") == "alignment":
        return f"alignment, outcome {event.get('outcome')}"
    return f"{event.get('steps')} {event.get('unit')}; {event.get('model')}, {event.get('backend')}"


def quality_words(quality: Event) -> str:
    """Return how good the joint model is, and the label party's own beside it."""
    if not quality:
        return ""
    name = NAMES.get(str(quality.get("metric")), str(quality.get("metric")))
    parts = []
    for who, words in (("joint", "joint"), ("alone", "label party alone")):
        found = _measure(quality.get(who))
        if found:
            parts.append(f"{words} {found}")
    return f"{name}: {', '.join(parts)}"


def _measure(measures: Any) -> str:  # noqa: ANN401 - JSON values
    """Return the measure on rows that judge, else on those that train."""
    found = measures if isinstance(measures, dict) else {}
    for name in ("test", "train"):
        if isinstance(found.get(name), int | float):
            return f"{float(found[name]):.4f} ({name})"
    return ""


def model_words(model: Event) -> str:
    """Return a model's name and the beginning of its id."""
    return f"{model.get('name')} {str(model.get('model', ''))[:16]}" if model else ""


def vertical_facts(record: Mapping[str, Any]) -> list[tuple[str, object]]:
    """Return the closing lines of a vertical run: of what is not known, none."""
    rows = record.get("rows") or {}
    common = f"{rows['training']} train, {rows['judging']} judge" if rows else None
    found = [
        ("study", record.get("study")),
        ("job", record.get("job")),
        ("status", f"{record.get('status')} {record.get('message') or ''}".strip()),
        ("common records", common),
        ("quality", quality_words(record.get("quality") or {})),
        ("model", model_words(record.get("model_kept") or {})),
    ]
    return [(name, value) for name, value in found if value]


def alignment_facts(record: Mapping[str, Any]) -> list[tuple[str, object]]:
    """Return the closing lines of an alignment, as who can't read what parties told has it."""
    told = [str(each.get("organisation")) for each in record.get("told", [])]
    found = [
        ("study", record.get("study")),
        ("job", record.get("job")),
        ("status", f"{record.get('status')} {record.get('message') or ''}".strip()),
        ("outcome", record.get("outcome")),
        ("told the operator", ", ".join(told)),
    ]
    return [(name, value) for name, value in found if value]


def _attempt(event: Event) -> str:
    number, step = event.get("number"), event.get("step")
    reason = f": {event['reason']}" if event.get("reason") else ""
    goes_on = f"goes on after {step}" if step else "goes on"
    begins = goes_on if step or event.get("reason") else "begins"
    return f"attempt  {number} {begins}{reason}"


def _aligned(event: Event) -> str:
    return f"aligned  {event.get('training')} common records train, {event.get('judging')} judge"


def _step(event: Event) -> str:
    unit = str(event.get("unit", "steps"))[:-1]
    return (
        f"{unit:<8} {event.get('step')} of {event.get('of')}, {event.get('seconds')} s each, "
        f"{float(event.get('bytes') or 0) / 1e6:.1f} MB sent so far"
    )


def _quality(event: Event) -> str:
    return f"quality  {quality_words(event)}"


def _model(event: Event) -> str:
    return f"model    {model_words(event)}, each party keeps its part"


def _sent(event: Event) -> str:
    return f"aligning {float(event.get('bytes') or 0) / 1e6:.1f} MB sent so far"


def _told(event: Event) -> str:
    return f"told     {event.get('organisation')} has told the operator, sealed"


LINES: Final[Mapping[str, Callable[[Event], str]]] = {
    "attempt": _attempt,
    "aligned": _aligned,
    "sent": _sent,
    "told": _told,
    "step": _step,
    "quality": _quality,
    "model": _model,
}
"""By event."""
