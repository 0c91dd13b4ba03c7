"""The section about the logs: who has cosigned what, and the chain of a run's sums."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fusion.ledger.verify import audit
from fusion.reports.training import render
from fusion.services.audit import as_document
from tests.ledger.made import NAMES, World, opening
from tests.reports.records import record
from tests.reports.test_training import HOSTILE, Page

if TYPE_CHECKING:
    from collections.abc import Sequence

WORLD = World()


def _audited(names: Sequence[str] = ("hub", *NAMES)) -> dict[str, Any]:
    logs = [
        audit(WORLD.bundle(n, WORLD.hub_log() if n == "hub" else WORLD.node_log(n))) for n in names
    ]
    return {"logs": [as_document(item) for item in logs]}


def test_every_sum_stands_with_the_entries_of_those_who_opened_it() -> None:
    page = Page(render({**record(), "job": "job", "ledgers": _audited()}))
    assert page.open == []
    assert "What the logs prove" in page.text
    assert "日志证明了什么" in page.text
    for number in range(4):
        assert opening(number, "job")[:16] in page.text
        holders = ", ".join(f"{name} ({4 + 2 * number})" for name in NAMES)
        assert holders in page.text
    assert "4 of 4" in page.text
    assert "3 of 3" in page.text


def test_without_logs_there_is_no_section_and_without_the_hubs_no_chain() -> None:
    assert "What the logs prove" not in Page(render(record())).text
    assert "What the logs prove" not in Page(render({**record(), "ledgers": {"logs": []}})).text
    page = Page(render({**record(), "job": "job", "ledgers": _audited(("north",))}))
    assert "What the logs prove" in page.text
    assert "opened by" not in page.text


def test_what_logs_say_is_text_on_the_page() -> None:
    audited = _audited()
    for log in audited["logs"]:
        log["organisation"] = f"{log['organisation']}{HOSTILE}"
    text = render({**record(), "job": "job", "ledgers": audited})
    assert "<script" not in text
    assert "<img" not in text
