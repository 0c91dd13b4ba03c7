"""How a node dials the hub: TLS 1.3, verified against the federation's CA, with its certificate."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fusion.errors import EnvironmentUnfit

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientCredentials:
    """What a member dials the hub with.

    Attributes:
        ca: Certificate of the federation's CA, for the hub's server.
        leaf: The member's certificate of the day and its private key, in one file.
        renewed: Renews the leaf if that is due; returns what tells it from those before.
        passphrase: Opens the private key, if it is encrypted.
    """

    ca: Path
    leaf: Path
    renewed: Callable[[], str]
    passphrase: bytes | None = None


class _MemberContext(ssl.SSLContext):
    """Shows the leaf of the day: each connection begins with the newest."""

    credentials: ClientCredentials
    shown: str

    def freshen(self) -> None:
        """Take the leaf anew if it was renewed."""
        current = self.credentials.renewed()
        if current != self.shown:
            passphrase = self.credentials.passphrase or b""
            self.load_cert_chain(str(self.credentials.leaf), password=passphrase)
            self.shown = current

    def wrap_socket(self, *args: Any, **options: Any) -> ssl.SSLSocket:  # noqa: ANN401 - as in ssl
        """Begin a connection."""
        self.freshen()
        return super().wrap_socket(*args, **options)

    def wrap_bio(self, *args: Any, **options: Any) -> ssl.SSLObject:  # noqa: ANN401 - as in ssl
        """Begin a connection whose bytes somebody else carries."""
        self.freshen()
        return super().wrap_bio(*args, **options)


def hub_ssl_context(credentials: ClientCredentials) -> ssl.SSLContext:
    """Return a context that trusts the federation's CA only and shows the member's certificate.

    Raises:
        EnvironmentUnfit: A file can't be read, or key and certificate do not belong together.
    """
    try:
        context = _MemberContext(ssl.PROTOCOL_TLS_CLIENT)
        _configure(context, cafile=str(credentials.ca))
        context.credentials, context.shown = credentials, ""
        context.freshen()
    except (OSError, ssl.SSLError) as error:
        raise EnvironmentUnfit(
            "The node's certificate, its key or the federation's CA can't be used: "
            f"{error.strerror or error}.",
            hint="Check the files in the node's folder, or enrol again.",
        ) from error
    return context


def trusting_context(ca_pem: str) -> ssl.SSLContext:
    """Return a context that trusts one CA only and shows no certificate.

    Raises:
        EnvironmentUnfit: The text is no certificate.
    """
    try:
        return _context(cadata=ca_pem)
    except (ssl.SSLError, ValueError) as error:
        raise EnvironmentUnfit("The federation's CA certificate can't be used.") from error


def unverified_context() -> ssl.SSLContext:
    """Return a context that verifies nothing.

    For one request only: the trust document, which is signed and pinned, and which says how to
    verify every later connection.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _context(*, cafile: str | None = None, cadata: str | None = None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    _configure(context, cafile=cafile, cadata=cadata)
    return context


def _configure(
    context: ssl.SSLContext, *, cafile: str | None = None, cadata: str | None = None
) -> None:
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    context.load_verify_locations(cafile=cafile, cadata=cadata)
