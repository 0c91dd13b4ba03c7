"""An interrupt of whoever waits for a link's work: the work ends, wherever the interrupt comes."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import pytest

from fusion.services.dialling import link_of
from fusion.services.enrolment import ROSTER
from fusion.wire.limits import MAX_ROSTER_BYTES

if TYPE_CHECKING:
    from tests.link.conftest import Federation


@pytest.mark.parametrize("scheduled", [True, False])
def test_an_interrupt_before_there_is_anything_to_wait_for_ends_what_was_begun(
    federation: Federation, monkeypatch: pytest.MonkeyPatch, *, scheduled: bool
) -> None:
    begun, ended, begin = threading.Event(), threading.Event(), asyncio.run_coroutine_threadsafe

    async def work() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    def interrupted(made: Any, loop: asyncio.AbstractEventLoop) -> None:
        if scheduled:
            begin(made, loop)
            assert begun.wait(60)
        raise KeyboardInterrupt

    with link_of(federation.a) as link:
        with monkeypatch.context() as patch:
            patch.setattr(asyncio, "run_coroutine_threadsafe", interrupted)
            with pytest.raises(KeyboardInterrupt):
                link.run(work(), None)
        # Were it left alone, it would be said never to have been awaited.
        assert ended.wait(60) if scheduled else link.read(ROSTER, MAX_ROSTER_BYTES)
