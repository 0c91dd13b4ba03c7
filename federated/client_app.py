"""The ClientApp: each kind of message is handed to whom in this process it is for.

It holds no logic. The node's own loop makes it with :func:`app_for`. Flower's SuperNode imports
``app``, which stands for the node whose folder the environment names.
"""

from __future__ import annotations

import logging
import os
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

from flwr.app import Message
from flwr.clientapp import ClientApp

from federated.cohort import Failure, Reply
from federated.party import Party
from federated.reception import Reception
from federated.runtime.logs import log_to_stderr
from federated.runtime.messages import MESSAGE_TYPES, decode_request, encode_reply, kind_of
from federated.seats import seat_of
from fusion.errors import FusionError
from fusion.services.homes import NodeHome
from fusion.types import OrgId

if TYPE_CHECKING:
    from flwr.app import Context

    from federated.cohort import Answering

_LOG: Final = logging.getLogger("banyan.party")
NODE_VARIABLE: Final = "BANYAN_NODE"
"""Environment variable with the node's folder, for Flower's own SuperNode."""


def app_for(party: Answering, organisation: OrgId) -> ClientApp:
    """Return a ClientApp that answers for ``party``."""
    client = ClientApp()

    def answer(message: Message, context: Context) -> Message:
        del context
        try:
            kind = kind_of(message.metadata.message_type)
            reply = party.handle(decode_request(kind, message.content))
        except FusionError as error:
            reply = Reply(organisation, failure=Failure.of(error))
        except Exception as error:  # noqa: BLE001 - what is unforeseen must be answered as well
            # What went wrong may quote data: it stays in the organisation's own log.
            _LOG.error("a request failed unexpectedly", exc_info=error)
            failure = Failure("F-000", "It failed unexpectedly; its log says why.", 1)
            reply = Reply(organisation, failure=failure)
        return Message(encode_reply(reply), reply_to=message)

    client.train("contribute")(answer)
    for name in MESSAGE_TYPES.values():
        category, _, action = name.partition(".")
        if category == "query":
            client.query(action)(answer)
    return client


@cache
def _app_of_environment() -> ClientApp:
    log_to_stderr()
    node = NodeHome.open(Path(os.environ[NODE_VARIABLE]))
    party = Reception(Party(seat_of(node, _LOG.info)))
    return app_for(party, OrgId(node.config.id))


def __getattr__(name: str) -> ClientApp:
    """Make ``app`` when it is asked for: nobody else needs a folder in the environment."""
    if name == "app":
        return _app_of_environment()
    raise AttributeError(name)
