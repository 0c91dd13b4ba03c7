"""What a log's entries about joint models have to mean together.

What is scored, published or exported is a part that was kept before; what is revoked is scored no
more; each scoring has its charge, which serves once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fusion.ledger import entry as entries

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import NoReturn


class ModelRules:
    """Takes the entries about models in order.

    Attributes:
        rules: What takes each kind of entry.
    """

    def __init__(self, charged: dict[str, bool], broken: Callable[[str], NoReturn]) -> None:
        """Begin.

        Args:
            charged: Reservations of scoring, and whether each was used.
            broken: Raises at the entry that can't be.
        """
        self._charged = charged
        self._broken = broken
        self._kept: set[str] = set()
        self._revoked: set[str] = set()
        self._epochs: set[str] = set()
        self.rules: Mapping[type[Any], Callable[[Any], None]] = {
            entries.ModelKept: self._keep,
            entries.ModelRevoked: self._revoke,
            entries.AnswersPublished: self._publish,
            entries.ModelScored: self._score,
            entries.ModelExported: self._known,
        }

    def _known(self, entry: Any) -> None:  # noqa: ANN401 - every entry that names a model
        if entry.model not in self._kept:
            self._broken("no entry before it keeps a part of the model")

    def _keep(self, entry: entries.ModelKept) -> None:
        if entry.model in self._kept:
            self._broken("the model was kept before")
        self._kept.add(entry.model)

    def _revoke(self, entry: entries.ModelRevoked) -> None:
        self._known(entry)
        self._revoked.add(entry.model)

    def _publish(self, entry: entries.AnswersPublished) -> None:
        self._known(entry)
        if entry.model in self._revoked:
            self._broken("the model was revoked before")
        if entry.epoch in self._epochs:
            self._broken("answers were published for the epoch before")
        self._epochs.add(entry.epoch)

    def _score(self, entry: entries.ModelScored) -> None:
        self._known(entry)
        if entry.model in self._revoked:
            self._broken("the model was revoked before")
        if self._charged.get(entry.reservation) is not False:
            self._broken("the scoring was not charged, or its charge was used before")
        self._charged[entry.reservation] = True
