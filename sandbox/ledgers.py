"""A node's history of releases: its secret, its file, and what is carried to a next revision."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from fusion.crypto import rng
from fusion.crypto.hashing import digest
from fusion.errors import InputInvalid
from fusion.services.files import make_folder, read_file, write_atomic
from fusion.wire import canonical
from sandbox.history.epoch import Cohort
from sandbox.history.guard import History
from sandbox.history.request import Scope
from sandbox.history.thresholds import SECRET_BYTES, Policy
from sandbox.pools import group_of, next_group
from sandbox.selection import attributes_of, definitions_of

if TYPE_CHECKING:
    from pathlib import Path

    from fusion.services.homes import NodeHome
    from sandbox.attached import Attached

FAMILY: Final = "all"
"""All sensitive columns of a dataset are one family: nothing is known of what correlates."""


def secret_of(node: NodeHome) -> bytes:
    """Return the node's secret for thresholds and noise; made when it is first asked for.

    Raises:
        EnvironmentUnfit: The file can't be read or made.
    """
    path = make_folder(node.path / "queries") / "secret"
    with node.lock(".queries.lock"):
        if not path.exists():
            write_atomic(path, rng.token(SECRET_BYTES))
    return read_file(path)


def noise_secret(secret: bytes) -> bytes:
    """Return what cell-key noise is keyed by."""
    return digest("banyan/queries/noise/v1", secret)


def history_of(node: NodeHome, attached: Attached) -> History:
    """Open the history with the bounds that a policy has.

    Raises:
        EnvironmentUnfit: It can't be opened.
    """
    k = max(2, attached.policy.release.k)
    bounds = Policy(k=k, h_max=1 / k)
    return History(_file(node), secret_of(node), bounds)


def _file(node: NodeHome) -> Path:
    return make_folder(node.path / "queries") / "history.sqlite"


def scope_of(attached: Attached, organisation: str) -> Scope:
    """Return the ledger that a release to an organisation is written to."""
    return _scope(attached, group_of(attached.policy, organisation))


def _scope(attached: Attached, group: str) -> Scope:
    return Scope(attached.owner, attached.dataset, group, FAMILY, attached.epoch)


def cohort_of(attached: Attached) -> Cohort:
    """Return the people of a revision, as the history knows them."""
    return Cohort(attached.people, attached.people_digest)


def carry(node: NodeHome, before: Attached, after: Attached) -> None:
    """Count under a new revision what was released under the last one.

    Raises:
        InputInvalid: Something was released, and the properties that it is about are others now;
            or a pool is taken apart; or what was released to those of a new pool, taken together,
            singles somebody out.
        HistoryBroken: The file was changed.
    """
    history = history_of(node, after)
    try:
        ledgers = _ledgers_of(history, before)
        if not ledgers:
            return
        kept, now = attributes_of(before.policy), attributes_of(after.policy)
        if any(now.get(name) != attribute for name, attribute in kept.items()):
            raise InputInvalid(
                "Results were released by dimensions that this policy drops or changes.",
                hint="Keep the dimensions of tables with one row each as they were.",
            )
        month = "2000-01"  # carrying is charged to no month
        definitions, cohort = definitions_of(after.policy), cohort_of(after)
        together: dict[str, list[Scope]] = {}
        for each in ledgers:
            group = next_group(before.policy, after.policy, each.group)
            together.setdefault(group, []).append(each)
        for group, old in together.items():
            history.carry(old, _scope(after, group), month, definitions, cohort)
    finally:
        history.close()


def _ledgers_of(history: History, attached: Attached) -> list[Scope]:
    """Return the ledgers of a revision, one for each group that got something."""
    found = (Scope(*canonical.decode(text.encode())) for text in sorted(history.heads()))
    own = (attached.owner, attached.dataset, attached.epoch)
    return [each for each in found if (each.owner, each.dataset, each.epoch) == own]
