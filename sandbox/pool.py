"""Workers in stock: started ahead, handed out once, replaced; never handed out again.

A worker sees the inputs that it was started with, so the stock is by function and inputs. One
thread starts them all, for the reason in :mod:`sandbox.process`.
"""

from __future__ import annotations

import queue
import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, Final

from fusion.errors import FusionError, WorkCrashed

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from sandbox.process import Worker

    Start = Callable[[], Worker]

_START_WAIT_SECONDS: Final = 60.0


class Pool:
    """A bounded stock of idle workers; of another key's, the oldest makes room for a new one."""

    def __init__(self, spares: int) -> None:
        """Keep so many idle workers at most; 0 starts every worker when it is asked for."""
        self._most = spares
        self._lock = threading.Lock()
        self._stock: list[tuple[Hashable, Worker]] = []  # oldest first
        self._orders: queue.SimpleQueue[tuple[Hashable, Start, Future[Worker] | None] | None] = (
            queue.SimpleQueue()
        )
        self._closed = False
        self._starter = threading.Thread(target=self._serve, name="sandbox-starter", daemon=True)
        self._starter.start()

    def take(self, key: Hashable, start: Start, enough: int = 0) -> Worker:
        """Return a worker for this key that nobody else gets.

        Order the next one (:meth:`stock`) when its work is done: starting it would take processor
        time away from this one.

        Args:
            key: Its function and inputs.
            start: Starts one.
            enough: Where given: ready ones are others', unless there are so many of them.

        Raises:
            WorkCrashed: None could be started.
        """
        with self._lock:
            if self._closed:
                raise WorkCrashed("the pool is closed")
            own = [i for i, (kept, _) in enumerate(self._stock) if kept == key]
            if enough:
                unready = [i for i in own if not self._stock[i][1].ready]
                own = unready or (own if len(own) >= enough else [])
            worker = self._stock.pop(own[0])[1] if own else None
        if worker is not None and not worker.alive():
            worker.kill()
            worker = None
        if worker is not None:
            return worker
        fresh: Future[Worker] = Future()
        self._orders.put((key, start, fresh))
        try:
            return fresh.result(_START_WAIT_SECONDS)
        except (OSError, TimeoutError, FusionError) as error:
            fresh.cancel()
            raise WorkCrashed(f"no worker could be started: {error}") from None

    def stock(self, key: Hashable, start: Start) -> None:
        """Order one more idle worker for this key, up to the size of the stock; returns at once."""
        if self._most:
            self._orders.put((key, start, None))

    def put(self, key: Hashable, worker: Worker, most: int) -> None:
        """Put a worker back that was not used; it is the next one for its key.

        For so many at most there is room, whatever the size of the stock.
        """
        with self._lock:
            dropped = [worker] if self._closed else []
            if not self._closed:
                self._stock.insert(0, (key, worker))
                dropped += self._beyond(key, max(most, self._most))
        for old in dropped:
            old.kill()

    def has(self, key: Hashable) -> bool:
        """Return whether there is an idle worker for this key."""
        with self._lock:
            return any(kept == key for kept, _ in self._stock)

    def idle(self) -> int:
        """Return how many workers are in stock."""
        with self._lock:
            return len(self._stock)

    def close(self) -> None:
        """Kill all idle workers and start no more."""
        with self._lock:
            self._closed = True
            dropped = [worker for _, worker in self._stock]
            self._stock.clear()
        self._orders.put(None)
        for worker in dropped:
            worker.kill()
        self._starter.join()

    def _serve(self) -> None:
        while (order := self._orders.get()) is not None:
            key, start, asked = order
            if asked is not None:
                if not asked.set_running_or_notify_cancel():
                    continue  # nobody waits for it any more
                try:
                    asked.set_result(start())
                except Exception as error:  # noqa: BLE001 - handed to who waits for it
                    asked.set_exception(error)
                continue
            with self._lock:
                count = sum(kept == key for kept, _ in self._stock)
                needed = not self._closed and count < self._most
            if needed:
                self._keep(key, start)

    def _keep(self, key: Hashable, start: Start) -> None:
        try:
            worker = start()
        except (OSError, FusionError):
            return  # whoever asks next is told
        with self._lock:
            dropped = [worker] if self._closed else []
            if not self._closed:
                self._stock.append((key, worker))
                dropped += self._beyond(key, self._most)
        for old in dropped:
            old.kill()

    def _beyond(self, key: Hashable, most: int) -> list[Worker]:
        """Take what there is no room for out of the stock: another key's, oldest first."""
        if len(self._stock) <= most:
            return []
        others = (i for i, (kept, _) in enumerate(self._stock) if kept != key)
        return [self._stock.pop(next(others, -1))[1]]
