"""An operator's order: its own signed word that it wants one run of exactly this study.

A study names its operator, and every decision is about that operator; the order is what shows that
the operator asked, and not the hub in its name. It is good for one run: whoever takes one remembers
for which job, and takes it for no other. Pure: keys come from a roster, the time is handed in.
"""

from __future__ import annotations

from datetime import UTC, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Final, Literal

from pydantic import Field, ValidationError

from fusion.crypto import rng
from fusion.errors import MessageInvalid, OrderRefused, SignatureInvalid, UnknownOrganisation
from fusion.grants.document import Digest, Moment, Organisation, moment_of
from fusion.grants.signing import stamp
from fusion.identity.members import AUTHORITY
from fusion.wire import envelope
from fusion.wire.documents import Part

if TYPE_CHECKING:
    from datetime import datetime

    from fusion.crypto.signing import SigningKey
    from fusion.grants.refusal import Language
    from fusion.identity.roster import Roster

SCHEMA: Final = "fusion.order/1"
TYPE: Final = "application/vnd.fusion.order/1+json"
MAX_ORDER_BYTES: Final = 4 * 1024
DEFAULT_HOURS: Final = 24
MAX_HOURS: Final = 30 * 24
"""An order that nobody has used by then was not meant."""

SKEW: Final = timedelta(minutes=5)
"""How far the operator's clock may be ahead."""

_ID_BYTES: Final = 16


class Code(StrEnum):
    """Stable codes of what can be wrong with an order."""

    MISSING = "G-51"
    SIGNER = "G-52"
    SUBJECT = "G-53"
    TIME = "G-54"
    USED = "G-55"


_MISSING_ADVICE: Final = (
    "At the operator's node: fusion train STUDY.toml --home NODE; where that does not reach the "
    "hub: fusion order sign there, and fusion train --order FILE at the hub"
)
_Words = tuple[tuple[str, str], tuple[str, str]]
WORDS: Final[dict[Code, _Words]] = {
    Code.MISSING: (
        ("the study's operator did not order this run", "研究的运营方未下达本次运行的指令"),
        (
            _MISSING_ADVICE,
            "在运营方节点执行 fusion train STUDY.toml --home NODE；离线时先执行 fusion order sign",
        ),
    ),
    Code.SIGNER: (
        ("the order is not signed by the study's operator", "指令并非由研究的运营方签署"),
        (
            "The organisation that the study names as operator signs it with its own key",
            "由研究所列的运营方用自己的密钥签署",
        ),
    ),
    Code.SUBJECT: (
        ("the order is for another study or federation", "指令针对其他研究或其他联邦"),
        (
            "Order this very study: a changed study needs a new order",
            "请为本研究下达指令：研究一经更改须重新下达",
        ),
    ),
    Code.TIME: (
        ("the order is not valid at this time", "指令当前不在有效期内"),
        (
            "Order again; check the clocks with fusion doctor",
            "请重新下达；用 fusion doctor 检查时钟",
        ),
    ),
    Code.USED: (
        ("the order was used for another run", "指令已用于另一次运行"),
        ("An order is good for one run: order again", "一份指令只对一次运行有效：请重新下达"),
    ),
}
"""For each code what is wrong and what to do, each in English and in Chinese."""


class Order(Part):
    """The whole document.

    Attributes:
        schema_: Version of the document.
        federation: Where it is to be run.
        operator: Who wants it: the operator that the study names.
        study: Digest of the study, with its defaults filled in.
        id: Random; names the order.
        ordered_at: When it was signed.
        valid_until: Up to, not including, when a run may begin under it.
        runs: How many.
    """

    schema_: Literal["fusion.order/1"] = Field(alias="schema")
    federation: Organisation
    operator: Organisation
    study: Digest
    id: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
    ordered_at: Moment
    valid_until: Moment
    runs: Literal[1]


def words(code: Code, language: Language = "en") -> tuple[str, str]:
    """Return what is wrong, and what to do about it."""
    place = 0 if language == "en" else 1
    said, advice = WORDS[code]
    return said[place], advice[place]


def refused(code: Code) -> OrderRefused:
    """Return the refusal with a code."""
    said, advice = words(code)
    return OrderRefused(f"{said[0].upper()}{said[1:]}.", hint=f"{advice}.", code=code)


def sign_order(
    *,
    federation: str,
    operator: str,
    study: str,
    key: SigningKey,
    now: datetime,
    hours: int = DEFAULT_HOURS,
) -> tuple[str, bytes]:
    """Return the id of a new order for one run of a study, and the order, signed.

    Args:
        federation: Where it is to be run.
        operator: Who orders.
        study: Digest of the study.
        key: The operator's statement key.
        now: The time.
        hours: For how long a run may begin under it, 1 to :data:`MAX_HOURS`.

    Raises:
        ValueError: ``hours`` is out of range.
    """
    if not 1 <= hours <= MAX_HOURS:
        message = f"An order is valid for 1 to {MAX_HOURS} hours."
        raise ValueError(message)
    moment = now.astimezone(UTC)
    order = rng.token(_ID_BYTES).hex()
    document = {
        "schema": SCHEMA,
        "federation": federation,
        "operator": operator,
        "study": study,
        "id": order,
        "ordered_at": stamp(moment),
        "valid_until": stamp(moment + timedelta(hours=hours)),
        "runs": 1,
    }
    return order, envelope.sign(document, TYPE, key, operator)


def open_order(data: bytes, roster: Roster, operator: str) -> Order:
    """Verify that an order is by an operator, for this federation, and return it.

    Args:
        data: The envelope.
        roster: The roster in force.
        operator: Who has to have signed it: the operator that the study names.

    Raises:
        OrderRefused: Another signed it, or it is for another federation.
        MemberRevoked: The operator is a member no longer.
        UnknownOrganisation: The operator never was a member.
        MessageInvalid: It is no order.
    """
    authority = operator == AUTHORITY
    key = roster.authority_key if authority else roster.member(operator).statement_key
    try:
        _, payload = envelope.open_signed(data, TYPE, {operator: key}, MAX_ORDER_BYTES)
    except (SignatureInvalid, UnknownOrganisation):
        raise refused(Code.SIGNER) from None
    try:
        order = Order.model_validate(payload)
    except ValidationError:
        raise MessageInvalid("An order is signed but not well formed.") from None
    longest = moment_of(order.ordered_at) + timedelta(hours=MAX_HOURS)
    if not moment_of(order.ordered_at) < moment_of(order.valid_until) <= longest:
        raise MessageInvalid(f"An order is valid for at most {MAX_HOURS} hours.")
    if order.operator != operator:
        raise refused(Code.SIGNER)
    if order.federation != roster.federation:
        raise refused(Code.SUBJECT)
    return order


def check_order(order: Order, study: str, now: datetime) -> None:
    """Return if a verified order is for this study, at this time.

    Args:
        order: The order.
        study: Digest of the study.
        now: The time.

    Raises:
        OrderRefused: It is for another study, or not valid now.
    """
    if order.study != study:
        raise refused(Code.SUBJECT)
    moment = now.astimezone(UTC)
    if not moment_of(order.ordered_at) - SKEW <= moment < moment_of(order.valid_until):
        raise refused(Code.TIME)


def check_taken(document: bytes, study: str) -> None:
    """Return if an order that was verified and taken before is for this study.

    Args:
        document: The very bytes that were verified then.
        study: Digest of the study.

    Raises:
        OrderRefused: It is for another study.
    """
    if envelope.unverified(document, MAX_ORDER_BYTES).get("study") != study:
        raise refused(Code.SUBJECT)
