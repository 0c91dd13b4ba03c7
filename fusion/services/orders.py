"""Ordering a run over the hub's port: study and order in, the run's events out.

The operator's node signs (:mod:`fusion.grants.order`) and hands both in; the hub queues the job if
the one who hands it in is the operator that the study names. The job's name follows from the order,
so that the operator can ask for it without being told. Nobody else is shown the job.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fusion.errors import HubRefused, InputInvalid, MessageInvalid, PartyUnreachable, Refused
from fusion.grants.order import (
    DEFAULT_HOURS,
    MAX_HOURS,
    MAX_ORDER_BYTES,
    Code,
    refused,
    sign_order,
)
from fusion.services import engines
from fusion.services.clock import SystemClock
from fusion.services.grants import identity_of
from fusion.services.homes import HubHome
from fusion.wire import canonical
from fusion.wire.limits import MEBI

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterator, Mapping

    from fusion.engine_ports import Work
    from fusion.identity.members import Member
    from fusion.link.dial import Link
    from fusion.services.homes import NodeHome

ORDERS: Final = "orders"
"""The box."""
STOPS: Final = "stops"
"""The box for the wish that a run ends."""
JOBS: Final = "jobs"
"""The document: ``jobs/JOB/N`` has some events of a job, from the place N in all of them on."""

MAX_STUDY_BYTES: Final = MEBI
MAX_ORDERED_BYTES: Final = 2 * MEBI
"""A study, its characters escaped where JSON wants it, and an order."""
MAX_STOP_BYTES: Final = 256
MAX_PAGE_BYTES: Final = 4 * MEBI
MAX_OPEN: Final = 8
"""Jobs of one operator that are not finished."""

_LOOK_SECONDS: Final = 0.3
_REST: Final = re.compile(r"(job-[0-9a-f]{12})/(0|[1-9][0-9]{0,11})")
_OVER: Final = ("done", "failed", "stopped")
_Text = Annotated[str, Field(max_length=MAX_STUDY_BYTES)]


class _Closed(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", hide_input_in_errors=True)


class Ordered(_Closed):
    """What is handed in.

    Attributes:
        schema_: Version of the document.
        origin: What the study's file is called.
        study: The study, as it was written.
        order: The order, signed: for the whole study, or for its alignment alone.
        work: Which of them.
    """

    schema_: Literal["fusion.ordered-study/1"] = Field(
        default="fusion.ordered-study/1", alias="schema"
    )
    origin: Annotated[str, Field(pattern=r"^[^\x00-\x1f\x7f/\\]{1,200}$")]
    study: _Text
    order: Annotated[str, Field(max_length=MAX_ORDER_BYTES)]
    work: Literal["train", "align"] = "train"


class Stopped(_Closed):
    """That a run is to end.

    Attributes:
        schema_: Version of the document.
        job: Which.
    """

    schema_: Literal["fusion.stop-run/1"] = Field(default="fusion.stop-run/1", alias="schema")
    job: Annotated[str, Field(pattern=r"^job-[0-9a-f]{12}$")]


class Page(_Closed):
    """Some of the events of a job.

    Attributes:
        schema_: Version of the document.
        job: The job.
        status: Of the job.
        start: Where in the job's events these begin.
        next: Where those after them do.
        events: As the hub wrote them.
    """

    schema_: Literal["fusion.job-page/1"] = Field(default="fusion.job-page/1", alias="schema")
    job: Annotated[str, Field(max_length=63)]
    status: Literal["queued", "starting", "running", "done", "failed", "stopped"]
    start: Annotated[int, Field(ge=0)]
    next: Annotated[int, Field(ge=0)]
    events: list[dict[str, Any]]


def sign(
    home: HubHome | NodeHome,
    text: str,
    origin: str,
    *,
    hours: int = DEFAULT_HOURS,
    work: Work = "train",
) -> tuple[str, bytes]:
    """Return the id of an order for one run of a study, and the order, signed by a folder's owner.

    Raises:
        StudyInvalid: The study is wrong, or the number of hours.
        InputInvalid: The study names another operator, or none.
    """
    if not 1 <= hours <= MAX_HOURS:
        raise InputInvalid(f"An order is valid for 1 to {MAX_HOURS} hours.")
    operator, study = engines.training().order_terms(text, origin, work)
    name, key = identity_of(home)
    if operator != name:
        said = "no operator" if operator is None else f"{operator} as its operator"
        raise InputInvalid(
            f"{origin}: the study names {said}; only its operator orders it, and this is {name}.",
            hint=f'Under [study]: operator = "{name}"'
            if operator is None
            else f"Order it at the node of {operator}.",
            study_key="study.operator",
        )
    federation = home.config.federation if isinstance(home, HubHome) else home.trust().federation
    return sign_order(
        federation=federation, operator=name, study=study, key=key,
        now=SystemClock().now(), hours=hours,
    )  # fmt: skip


# ------------------------------------------------------------------------------- at the hub


class OrderDesk:
    """Where operators hand orders in, and ask what became of them."""

    def __init__(self, hub: HubHome) -> None:
        """Take the hub."""
        self._hub = hub

    def take(self, member: Member, data: bytes) -> None:
        """Queue the run that a member orders.

        Raises:
            OrderRefused: The member is not the study's operator, or the order does not hold.
            Refused: Too many jobs of the member are not finished.
            StudyInvalid: The study is wrong.
            FusionError: As when it is handed over at the hub.
        """
        found = _ordered(data)
        engine = engines.training()
        operator, _ = engine.order_terms(found.study, found.origin, found.work)
        if operator != member.id:
            raise refused(Code.SIGNER)
        mine = [job for job in engine.jobs(self._hub) if job.get("operator") == member.id]
        if sum(job.get("status") not in _OVER for job in mine) >= MAX_OPEN:
            raise Refused(f"{member.id} has {MAX_OPEN} jobs that are not finished.")
        engine.train(self._hub, found.study, found.origin, found.order.encode(), found.work)

    def stop(self, member: Member, data: bytes) -> None:
        """Have a run end that a member ordered.

        Raises:
            InputInvalid: The member ordered no such run, or it has ended.
            MessageInvalid: What was handed in names no run.
        """
        try:
            job = Stopped.model_validate(canonical.decode(data, MAX_STOP_BYTES)).job
        except ValidationError:
            raise MessageInvalid("What was handed in names no run.") from None
        engine = engines.training()
        if engine.look(self._hub, job, operator=member.id, start=0) is None:
            raise InputInvalid(f"{job} is no run that {member.id} ordered.")
        engine.stop(self._hub, job)

    def document(self, member: Member, rest: str) -> bytes | None:
        """Return status and events of a job that the member ordered."""
        asked = _REST.fullmatch(rest)
        if asked is None:
            return None
        job, start = asked[1], int(asked[2])
        found = engines.training().look(self._hub, job, operator=member.id, start=start)
        if found is None:
            return None
        status, events, following = found
        shown = [_finite(event) for event in events]
        said = {"job": job, "status": status, "start": start, "next": following, "events": shown}
        return canonical.encode(Page.model_validate(said).model_dump(by_alias=True))


def _ordered(data: bytes) -> Ordered:
    try:
        return Ordered.model_validate(canonical.decode(data, MAX_ORDERED_BYTES))
    except ValidationError:
        raise MessageInvalid("What was handed in is no study with its order.") from None


def _finite(value: Any) -> Any:  # noqa: ANN401 - JSON values
    """Return an event without numbers that JSON does not know."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


# ------------------------------------------------------------------------------- at a node


def hand_in(node: NodeHome, link: Link, text: str, origin: str, work: Work = "train") -> str:
    """Order a run of a study, or its alignment alone, at the hub; return the job's identifier.

    Raises:
        StudyInvalid: The study is wrong.
        InputInvalid: The study names another operator, or none.
        PartyUnreachable: The hub does not answer.
        HubRefused: It refuses; the message says why.
    """
    order, document = sign(node, text, origin, work=work)
    name = re.sub(r"[\x00-\x1f\x7f/\\]", "_", origin.rsplit("/", 1)[-1])[:200] or "study.toml"
    ordered = Ordered(origin=name, study=text, order=document.decode(), work=work)
    link.hand_in(ORDERS, canonical.encode(ordered.model_dump(by_alias=True)))
    return engines.training().job_of(order)


def stop(link: Link, job: str) -> None:
    """Have a run end that this node ordered: before its next round, or at every party.

    Raises:
        InputInvalid: The text can't be a job's identifier.
        PartyUnreachable: The hub does not answer.
        HubRefused: It is not this node's, or has ended.
    """
    try:
        said = Stopped(job=job)
    except ValidationError:
        raise InputInvalid(f"{job[:63]!r} is no job that was ordered from here.") from None
    link.hand_in(STOPS, canonical.encode(said.model_dump(by_alias=True)))


def ended(link: Link, job: str) -> str:
    """Return how a job that this node ordered has ended, or nothing while it goes on.

    Raises:
        InputInvalid: This node ordered no such job.
        PartyUnreachable: The hub does not answer.
        MessageInvalid: What the hub sends is not well formed.
    """
    status = _page(link, job, 0).status
    return status if status in _OVER else ""


def follow(
    link: Link,
    job: str,
    *,
    stop: threading.Event,
    on_quiet: Callable[[float], None] = lambda _: None,
) -> Iterator[Mapping[str, Any]]:
    """Yield the events of a job that this node ordered, past and coming, up to its end.

    Args:
        link: To the hub.
        job: The job.
        stop: Ends the following.
        on_quiet: Told, while the hub does not answer, for how many seconds.

    Raises:
        InputInvalid: This node ordered no such job.
        HubRefused: The hub answers, and refuses.
        MessageInvalid: What the hub sends is not well formed.
    """
    place, quiet = 0, 0.0
    while not stop.is_set():
        try:
            page = _page(link, job, place)
        except HubRefused:
            raise
        except PartyUnreachable:
            quiet += 1.0
            on_quiet(quiet)
            stop.wait(1.0)
            continue
        place, quiet = page.next, 0.0
        for event in page.events:
            yield event
            if event.get("event") == "end":
                return
        if not page.events:
            stop.wait(_LOOK_SECONDS)


def _page(link: Link, job: str, start: int) -> Page:
    data = link.read(f"{JOBS}/{job}/{start}", MAX_PAGE_BYTES)
    if data is None:
        raise InputInvalid(f"{job[:63]} is no job that was ordered from here.")
    try:
        page = Page.model_validate(canonical.decode(data, MAX_PAGE_BYTES))
    except ValidationError:
        raise MessageInvalid("What the hub says of a job is not well formed.") from None
    if (page.job, page.start) != (job, start) or any("event" not in each for each in page.events):
        raise MessageInvalid("The hub answers for another job.")
    return page
