"""A model's card: what it is, of which data, under which grants, how good, what it shows of whom.

A card is a holder's own view. Its own table is there by dataset and columns; of the other holders
there are names and digests. It holds no row and no value of anybody's data but what metrics and the
leak report say. What may leave this node of a model is decided here, too.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any, Final

from fusion.errors import PartyFailed, PartyUnreachable, VerificationFailed
from fusion.grants.signing import Standing
from fusion.ledger import entry as entries
from fusion.ledger.entry import decode
from fusion.services import engines
from fusion.services.clock import SystemClock, timestamp
from fusion.services.files import read_file, write_atomic
from fusion.services.grants import folder_of
from fusion.services.ledger import Book
from fusion.services.model_facts import MAX_PART_BYTES
from fusion.services.models import kept_models
from fusion.services.score_asking import FeatureSide
from fusion.services.score_rules import Ruled, refused
from fusion.services.storage import open_budgets
from fusion.wire import canonical

if TYPE_CHECKING:
    from pathlib import Path

    from fusion.ports import Clock
    from fusion.services.grants import Kept
    from fusion.services.homes import NodeHome
    from fusion.services.models import KeptModel
    from fusion.services.node_link import Connection

CARD: Final = "fusion.model-card/1"
EXPORT: Final = "fusion.model-export/1"


def card(node: NodeHome, kept: KeptModel, *, clock: Clock | None = None) -> dict[str, Any]:
    """Return a model's card as JSON values.

    Raises:
        VerificationFailed: A grant or a file of the model was changed.
        SealBroken: So was a scorecard's part.
    """
    shared, own = kept.facts.shared, kept.facts.own
    now = timestamp((clock or SystemClock()).now())
    return {
        "model": kept.id,
        "name": kept.name,
        "kind": shared.kind,
        "role": kept.role,
        "holder": own.organisation,
        "standing": kept.standing,
        "revocation": kept.revocation,
        "heard_revoked": [
            {"organisation": name, "heard": at} for name, at in sorted(kept.heard.items())
        ],
        "at": now,
        "made": shared.made,
        "study": shared.study,
        "job": shared.job,
        "operator": shared.operator,
        "purpose": shared.purpose,
        "data": {
            "identifier": shared.identifier.model_dump(mode="json"),
            "rows_aligned": shared.rows_aligned,
            "rows_training": shared.rows_training,
            "steps": shared.steps,
            "own": {
                "dataset": own.dataset,
                "identifier": own.identifier,
                "columns": list(own.columns),
                "label": own.label,
                "schema_digest": own.schema_digest,
            },
        },
        "holders": [holder.model_dump(mode="json") for holder in shared.holders],
        "grants": _grants(node, kept, now),
        "metrics": kept.facts.metrics,
        "points": _points(node, kept),
        "leakage": kept.facts.leakage,
        "scored": _scored(node, kept),
        "epoch": _epoch(kept),
        "versions": [
            {"version": each.version, "model": each.id, "made": each.facts.shared.made,
             "standing": each.standing}
            for each in kept_models(node)
            if each.facts.shared.name == shared.name
        ],
    }  # fmt: skip


def _points(node: NodeHome, kept: KeptModel) -> list[dict[str, Any]]:
    """Return what values of own columns are worth, of a scorecard; nothing of other models."""
    if kept.facts.shared.kind != "scorecard":
        return []
    return [dict(each) for each in engines.scoring().open(kept.part(node)).points]


def _grants(node: NodeHome, kept: KeptModel, now: str) -> list[dict[str, Any]]:
    """Return grants that the model was trained under, and those that let it be scored with."""
    trained = set(kept.facts.own.grants)
    found = []
    budgets = open_budgets(node)
    for each in folder_of(node).all():
        score = each.signed.grant.permission("score")
        scores = bool(_scored_under(each, kept))
        if each.signed.id not in trained and not scores:
            continue
        grant = each.signed.grant
        mine = node.config.id in grant.assigners
        used = budgets.used(each.signed.id, "score") if mine else None
        actions = {"train": each.signed.id in trained, "score": scores}
        found.append(
            {
                "id": each.signed.id,
                "title": grant.title,
                "for": [name for name, yes in actions.items() if yes],
                "from": list(grant.assigners),
                "to": grant.assignee,
                "purpose": grant.purpose,
                "standing": _standing(each, now),
                "not_after": grant.not_after,
                "score": None if score is None else score.model_dump(mode="json"),
                "score_used": None if used is None else {"runs": used.runs, "rows": used.rows},
            }
        )  # fmt: skip
    known = {each["id"] for each in found}
    return [*found, *({"id": gone, "standing": "unknown"} for gone in sorted(trained - known))]


def _standing(each: Kept, now: str) -> str:
    """Return where a grant stands: one that is not in its time holds as little as a revoked one."""
    grant = each.signed.grant
    if each.standing is not Standing.FINALIZED:
        return each.standing.value.lower()
    return "finalized" if grant.not_before <= now < grant.not_after else "not in its time"


def _scored_under(each: Kept, kept: KeptModel) -> set[str]:
    """Return the holders whose tables a grant lets the label party score with this model.

    It has to be about the table that the holder's part was trained on, and bound to no other model.
    """
    grant, shared = each.signed.grant, kept.facts.shared
    score = grant.permissions.score
    if score is None or grant.assignee != shared.label_party:
        return set()
    if score.only_models and not set(score.only_models) & set(shared.names):
        return set()
    return {
        holder.organisation
        for holder in shared.holders
        if holder.organisation in grant.assigners and holder.dataset == grant.dataset.id
    }


def _scored(node: NodeHome, kept: KeptModel) -> list[dict[str, Any]]:
    """Return how often and for whom this holder's part was scored with, as its log says."""
    counts: dict[str, list[int]] = {}
    mark = kept.id.encode()
    with Book(node) as book:
        for data in book.ledger.entries(0, book.ledger.size()):
            if mark not in data:
                continue
            entry = decode(data)
            if isinstance(entry, entries.ModelScored) and entry.model == kept.id:
                both = counts.setdefault(entry.organisation, [0, 0])
                both[0] += 1
                both[1] += entry.records
    return [
        {"organisation": name, "calls": calls, "records": records}
        for name, (calls, records) in sorted(counts.items())
    ]


def _epoch(kept: KeptModel) -> int | None:
    """Return the number of the newest epoch of answers, at a feature party that has begun one."""
    file = kept.path / "epochs" / "begun"
    return int(read_file(file)) if file.exists() else None


def check_export(node: NodeHome, kept: KeptModel, *, clock: Clock | None = None) -> None:
    """Return if this holder's part may leave the node as a file.

    A feature party's part is about its own columns alone. The label party's says where others'
    splits lead: it leaves while every feature party's grant lets it be scored with, over the table
    that the party's part was trained on.

    Raises:
        ModelRefused: M-11: it was revoked, here or, as was heard, by another holder. M-20: a grant
            is missing, revoked or over.
    """
    if kept.revoked:
        raise refused(Ruled.REVOKED)
    if kept.heard:
        raise refused(Ruled.REVOKED, ", ".join(sorted(kept.heard)))
    if kept.role == "feature":
        return
    now = timestamp((clock or SystemClock()).now())
    granted = {
        name
        for each in folder_of(node).all()
        if _standing(each, now) == "finalized"
        for name in _scored_under(each, kept)
    }
    missing = [name for name in kept.facts.shared.feature_parties if name not in granted]
    if missing:
        raise refused(Ruled.EXPORT, ", ".join(missing))


def ask_holders(connection: Connection, node: NodeHome, kept: KeptModel) -> None:
    """Return if every other holder of a model says, now, that it did not revoke it.

    Raises:
        ModelRefused: M-11: one revoked it, which is kept as heard. M-21: one does not say.
    """
    purpose = kept.facts.shared.purpose or "export"
    for holder in kept.facts.shared.holders:
        name = holder.organisation
        if name == kept.facts.own.organisation:
            continue
        try:
            FeatureSide(connection, node, kept, name, purpose, lambda _: None).stands()
        except (PartyFailed, PartyUnreachable, VerificationFailed) as error:
            if error.code == Ruled.REVOKED.value.code:
                raise refused(Ruled.REVOKED, name) from error
            raise refused(Ruled.UNASKED, f"{name}: {error.code}") from error


def export(
    node: NodeHome,
    kept: KeptModel,
    path: Path,
    *,
    connection: Connection | None,
    clock: Clock | None = None,
) -> str:
    """Write a model's card, and this holder's part if asked for, to a file; return its SHA-256.

    Args:
        node: This holder.
        kept: The model.
        path: The file.
        connection: To ask the other holders over, for an export with the part; None for the card.
        clock: Time.

    Raises:
        ModelRefused: See :func:`check_export` and :func:`ask_holders`; the card alone always
            leaves.
        SealBroken: The part was changed.
    """
    with_part = connection is not None
    if connection is not None:
        check_export(node, kept, clock=clock)
        ask_holders(connection, node, kept)
    shown = card(node, kept, clock=clock)
    content: dict[str, Any] = {
        "schema": EXPORT,
        # Points are the part's: they leave with it or not at all.
        "card": {"schema": CARD, **shown, "points": shown["points"] if with_part else []},
        "part": canonical.decode(kept.part(node), MAX_PART_BYTES) if with_part else None,
    }
    data = (json.dumps(content, ensure_ascii=False, indent=1) + "\n").encode()
    digest = hashlib.sha256(data).hexdigest()
    # Under the lock under which a revocation is kept: logged after one, no part leaves.
    with node.lock(".models.lock"), Book(node, clock) as book:
        if with_part and (kept.revoked or kept.heard):
            raise refused(Ruled.REVOKED, ", ".join(sorted(kept.heard)))
        entry = entries.ModelExported(
            at=book.now(), model=kept.id, output="part" if with_part else "card", digest=digest
        )
        book.once(f"model-exported:{kept.id}:{digest}", entry)
    write_atomic(path, data)
    return digest
