"""The ClientApp: six kinds of messages, each handed to this process's party.

It holds no logic. The party is set by whoever starts the process
(:func:`serve_with`): the node's own loop, or Flower's SuperNode through the environment.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from flwr.app import Message
from flwr.clientapp import ClientApp

from federated.cohort import Failure, Reply
from federated.runtime.messages import decode_request, encode_reply, kind_of
from fusion.errors import FusionError
from fusion.types import OrgId

if TYPE_CHECKING:
    from flwr.app import Context

    from federated.party import Party

_LOG: Final = logging.getLogger("banyan.party")
_NOBODY: Final = OrgId("nobody")


def app_for(party: Party, organisation: OrgId) -> ClientApp:
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
    for action in ("hello", "setup", "submit", "decrypt", "close"):
        client.query(action)(answer)
    return client
