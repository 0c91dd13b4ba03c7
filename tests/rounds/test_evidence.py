"""What a run leaves in the logs: every sum opened, under the rules that an audit replays."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from federated.evidence import log_start
from fusion.ledger import entry as entries
from fusion.ledger.entry import Entry, decode
from fusion.ledger.rules import Replay
from fusion.stores.memory import MemoryRoundLog
from tests.federation import NAMES, Federation, federation, with_deadlines

if TYPE_CHECKING:
    from pathlib import Path

    from federated.cohort import Request
    from fusion.identity.roster import Roster
    from fusion.services.logbook import LogBook
    from fusion.types import OrgId
    from tests.keys import Dealt


def _logged(made: Federation, name: OrgId) -> list[Entry]:
    log = made.parties[name].party._seat.log
    assert isinstance(log, MemoryRoundLog)
    return [decode(data) for data in log.ledger.entries(0, log.ledger.size())]


def _replayed(book: LogBook, roster: Roster, logged: list[Entry]) -> Replay:
    made = logged[0]
    assert isinstance(made, entries.OrganisationMade)
    replay = Replay(book.keys(roster), made.statement_key)
    for item in logged:
        replay.feed(item)
    return replay


def _node(made: Federation, name: OrgId) -> Replay:
    book = made.parties[name].party._seat.book
    return _replayed(book, made.roster, _logged(made, name))


@pytest.fixture
def made(tmp_path: Path, dealt: Dealt) -> Federation:
    """A federation of four."""
    return federation(tmp_path, dealt)


def _hub_log(made: Federation) -> list[Entry]:
    """Run the study; return the hub's log of it."""
    engine = made.run()
    log_start(engine._run)
    engine.run()
    engine.close("done")
    ledger = made.book.ledger
    return [decode(data) for data in ledger.entries(0, ledger.size())]


def test_a_run_is_told_the_same_by_all_logs(made: Federation) -> None:
    hub = _replayed(made.book, made.roster, _hub_log(made))
    # Moments, two rounds, the judging of the model.
    assert sorted(hub.openings) == [("job", number) for number in range(4)]
    opened = 0
    for name in NAMES:
        logged = _logged(made, name)
        assert isinstance(logged[1], entries.StudyAgreed)
        assert logged[-1] == entries.JobEnded(at=logged[-1].at, job="job", status="done")
        node = _node(made, name)
        for where, (_, opening, contributions) in node.openings.items():
            assert (opening, contributions) == hub.openings[where][1:]
            opened += 1
        summed = {v for v, (_, contributor) in hub.summed.items() if contributor == name}
        assert summed == set(node.contributed)
    assert opened >= 4 * 3


def test_a_refused_study_is_logged_once_with_its_code(made: Federation) -> None:
    party = made.parties[NAMES[0]].party
    object.__setattr__(party._seat, "min_group", 4)
    for _ in range(2):
        engine = made.run()
        with pytest.raises(Exception, match="quorum"):
            engine.run()
    refused = [item for item in _logged(made, NAMES[0]) if isinstance(item, entries.StudyRefused)]
    assert [item.code for item in refused] == ["F-400"]


def test_a_party_that_leaves_a_round_void_opens_nothing_twice(made: Federation) -> None:
    made.study = with_deadlines(made.study, 1)
    silent = {"left": 1}

    def away(request: Request) -> bool:
        if request.kind == "submit" and silent["left"]:
            silent["left"] -= 1
            return True
        return False

    made.parties[NAMES[0]].away = away
    hub = _replayed(made.book, made.roster, _hub_log(made))
    assert len(hub.openings) == 4
    for name in NAMES[1:]:
        logged = _logged(made, name)
        _node(made, name)
        first = [
            item.attempt
            for item in logged
            if isinstance(item, entries.RoundContributed) and item.round == 0
        ]
        assert first == [1, 2]
