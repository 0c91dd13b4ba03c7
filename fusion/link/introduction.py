"""The hub's server certificate, as anybody gets to see it who begins to shake hands.

The one thing that is done without verifying who answers: the certificate carries the authority's
signed trust document (:func:`fusion.identity.certificates.trust_of`), which the pin of an
invitation vouches for, and which says how to verify every later connection.
"""

from __future__ import annotations

import socket
import ssl
from typing import TYPE_CHECKING, Final

from fusion.errors import PartyUnreachable

if TYPE_CHECKING:
    from fusion.identity.trust import Address

SECONDS: Final = 10.0


def introduced(hub: Address, seconds: float = SECONDS) -> bytes:
    """Return the certificate (DER) that the hub shows; nothing is verified.

    Raises:
        PartyUnreachable: Nothing answers there, or not with TLS 1.3.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    try:
        with (
            socket.create_connection((hub.host, hub.port), timeout=seconds) as plain,
            context.wrap_socket(plain, server_hostname=hub.host) as connection,
        ):
            shown = connection.getpeercert(binary_form=True)
    except (OSError, ssl.SSLError) as error:
        reason = error.strerror or str(error) or type(error).__name__
        raise PartyUnreachable(
            f"The hub at {hub} does not answer: {reason}.",
            hint="Is it up? Can this machine reach its port (name, route, firewall)?",
        ) from None
    if shown is None:
        raise PartyUnreachable(f"What answers at {hub} shows no certificate.")
    return shown
