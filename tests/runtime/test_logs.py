"""What nobody foresaw is in the log of the process it happened in, and nowhere else."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

import pytest
from flwr.app import Context, Message, RecordDict

from federated.client_app import app_for
from federated.cohort import Request
from federated.runtime.logs import log_to_stderr
from federated.runtime.messages import decode_reply, encode_request, fresh_nonce
from federated.runtime.node import serve_node
from federated.runtime.supervisor import serve_hub
from fusion.errors import EnvironmentUnfit
from fusion.types import OrgId
from tests.link.federation import admit, make_hub, make_node
from tests.strategy.grid import with_task_identity

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from federated.cohort import Reply

NORTH = OrgId("north")


@pytest.fixture(autouse=True)
def _as_in_a_new_process() -> Iterator[None]:
    logger = logging.getLogger("banyan")
    before = (list(logger.handlers), logger.level)
    logger.handlers[:] = [logging.NullHandler()]
    yield from with_task_identity()
    logger.handlers[:], logger.level = before


class Broken:
    """A party with a mistake in it."""

    def handle(self, request: Request) -> Reply:
        message = f"planted in {request.kind}"
        raise ValueError(message)


def test_an_unforeseen_error_is_in_the_nodes_log_and_not_in_its_answer(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hub = make_hub(tmp_path / "hub")
    node = admit(hub, make_node(hub, tmp_path / "node", "north"))
    stop = threading.Event()
    stop.set()  # it is up, and done
    serve_node(node, stop=stop, say=lambda _: None)

    app = app_for(Broken(), NORTH)
    request = Message(encode_request(Request("setup"), fresh_nonce()), 1, "query.setup")
    context = Context(1, 1, {}, RecordDict(), {})
    failure = decode_reply(NORTH, app(request, context).content).failure
    assert failure is not None
    assert (failure.code, "planted" in failure.message) == ("F-000", False)

    log = capsys.readouterr().err
    assert "Traceback (most recent call last)" in log
    assert "ValueError: planted in setup" in log


def test_the_hubs_log_has_what_its_parts_report(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hub = make_hub(tmp_path / "hub")
    with hub.serving(), pytest.raises(EnvironmentUnfit):
        serve_hub(hub, stop=threading.Event(), say=pytest.fail)
    logging.getLogger("banyan.grid").warning("a %s", "warning")
    assert "WARNING banyan.grid: a warning\n" in capsys.readouterr().err


def test_a_line_is_written_once_however_often_it_was_asked_for(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for _ in range(2):
        log_to_stderr()
    logging.getLogger("banyan").error("once")
    assert capsys.readouterr().err.count("once") == 1
