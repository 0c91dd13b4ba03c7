"""What a log's entries about joint models have to mean together.

What is scored, published or exported is a part that was kept before; what is revoked is scored no
more, and leaves no more, also where another holder was heard to have revoked it; each scoring has
its charge, which serves once.
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

    def __init__(
        self,
        organisation: str,
        charged: dict[str, bool],
        broken: Callable[[str], NoReturn],
        notice: Callable[[str], None],
    ) -> None:
        """Begin.

        Args:
            organisation: Whose log it is.
            charged: Reservations of scoring, and whether each was used.
            broken: Raises at the entry that can't be.
            notice: Told what is allowed and worth a look, of the entry at hand.
        """
        self._organisation = organisation
        self._charged = charged
        self._broken = broken
        self._notice = notice
        self._kept: set[str] = set()
        self._revoked: set[str] = set()
        self._heard: set[tuple[str, str]] = set()
        self._epochs: set[str] = set()
        self.rules: Mapping[type[Any], Callable[[Any], None]] = {
            entries.ModelKept: self._keep,
            entries.ModelRevoked: self._revoke,
            entries.ModelRevocationHeard: self._hear,
            entries.AnswersPublished: self._publish,
            entries.ModelScored: self._score,
            entries.ModelExported: self._export,
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

    def _hear(self, entry: entries.ModelRevocationHeard) -> None:
        self._known(entry)
        said = (entry.model, entry.organisation)
        if entry.organisation == self._organisation:
            self._broken("what it revoked itself is not what it heard of another")
        if said in self._heard:
            self._broken("it heard that before")
        self._heard.add(said)
        self._notice(
            f"{self._organisation} heard at {entry.at} that {entry.organisation} revoked the model "
            f"{entry.model[:16]}; {entry.organisation} signed nothing"
        )

    def _export(self, entry: entries.ModelExported) -> None:
        self._known(entry)
        over = entry.model in self._revoked or entry.model in {model for model, _ in self._heard}
        if over and entry.output == "part":
            self._broken("the model was revoked before, or was heard to be")

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
