"""An organisation's private keys, as bytes that a file can hold.

Separate keys for separate purposes, so that each can be kept, replaced and judged on its own:
statements, log and witness (Ed25519), sealed boxes (X25519), the CA and TLS (P-256), Flower's fleet
interface (P-384). All are PKCS #8 (RFC 5958) in PEM form, encrypted if there is a passphrase.
"""

from __future__ import annotations

import base64
import binascii
import hashlib

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from fusion.crypto.sealing import SealingKey
from fusion.crypto.signing import SigningKey, VerifyKey
from fusion.errors import KeyRefused, PassphraseWrong

_MAX_FLEET_KEY_CHARACTERS = 512
_ENCRYPTED = b"-----BEGIN ENCRYPTED PRIVATE KEY-----"


def signing_pem(key: SigningKey, passphrase: bytes | None = None) -> bytes:
    """Return a statement key as PKCS #8."""
    return _pkcs8(Ed25519PrivateKey.from_private_bytes(key.to_bytes()), passphrase)


def signing_from_pem(data: bytes, passphrase: bytes | None = None) -> SigningKey:
    """Read what :func:`signing_pem` wrote.

    Raises:
        KeyRefused: It is something else, or the passphrase is wrong.
    """
    key = _load(data, passphrase)
    if not isinstance(key, Ed25519PrivateKey):
        raise KeyRefused("A statement key is not an Ed25519 private key in PEM form.")
    return SigningKey.from_bytes(key.private_bytes_raw())


def sealing_pem(key: SealingKey, passphrase: bytes | None = None) -> bytes:
    """Return a sealing key as PKCS #8."""
    return _pkcs8(X25519PrivateKey.from_private_bytes(key.to_bytes()), passphrase)


def sealing_from_pem(data: bytes, passphrase: bytes | None = None) -> SealingKey:
    """Read what :func:`sealing_pem` wrote.

    Raises:
        KeyRefused: It is something else, or the passphrase is wrong.
    """
    key = _load(data, passphrase)
    if not isinstance(key, X25519PrivateKey):
        raise KeyRefused("A sealing key is not an X25519 private key in PEM form.")
    return SealingKey.from_bytes(key.private_bytes_raw())


def new_tls_key() -> ec.EllipticCurvePrivateKey:
    """Make a P-256 key: what every TLS library and verifier accepts."""
    return ec.generate_private_key(ec.SECP256R1())


def tls_pem(key: ec.EllipticCurvePrivateKey, passphrase: bytes | None = None) -> bytes:
    """Return a TLS key as PKCS #8."""
    return _pkcs8(key, passphrase)


def tls_from_pem(data: bytes, passphrase: bytes | None = None) -> ec.EllipticCurvePrivateKey:
    """Read what :func:`tls_pem` wrote.

    Raises:
        KeyRefused: It is something else, or the passphrase is wrong.
    """
    key = _load(data, passphrase)
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.curve.name != "secp256r1":
        raise KeyRefused("A TLS key is not a P-256 private key in PEM form.")
    return key


def new_fleet_key() -> ec.EllipticCurvePrivateKey:
    """Make a P-384 key: what Flower uses for its nodes."""
    return ec.generate_private_key(ec.SECP384R1())


def fleet_pem(key: ec.EllipticCurvePrivateKey, passphrase: bytes | None = None) -> bytes:
    """Return a fleet key as PKCS #8."""
    return _pkcs8(key, passphrase)


def fleet_openssh(key: ec.EllipticCurvePrivateKey) -> bytes:
    """Return a fleet key in OpenSSH's form, not encrypted: the stock SuperNode reads no other."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())


def fleet_from_pem(data: bytes, passphrase: bytes | None = None) -> ec.EllipticCurvePrivateKey:
    """Read what :func:`fleet_pem` wrote.

    Raises:
        KeyRefused: It is something else, or the passphrase is wrong.
    """
    key = _load(data, passphrase)
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.curve.name != "secp384r1":
        raise KeyRefused("A fleet key is not a P-384 private key in PEM form.")
    return key


def is_encrypted(data: bytes) -> bool:
    """Whether a key file needs a passphrase."""
    return _ENCRYPTED in data


def fleet_header(key: ec.EllipticCurvePublicKey) -> str:
    """Return a fleet key's public half as Flower's header ``flwr-public-key`` carries it.

    That is base64 of the PEM form of its SubjectPublicKeyInfo.
    """
    pem = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return base64.b64encode(pem).decode()


def read_fleet_header(text: str) -> ec.EllipticCurvePublicKey:
    """Read what :func:`fleet_header` wrote, in exactly that spelling.

    Raises:
        KeyRefused: It is something else.
    """
    refusal = KeyRefused("A fleet key is not a P-384 public key in the form Flower sends.")
    if len(text) > _MAX_FLEET_KEY_CHARACTERS:
        raise refusal
    try:
        key = load_pem_public_key(base64.b64decode(text, validate=True))
    except (binascii.Error, ValueError, UnsupportedAlgorithm):
        raise refusal from None
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name != "secp384r1":
        raise refusal
    if fleet_header(key) != text:
        raise refusal
    return key


def authority_pin(key: VerifyKey) -> str:
    """Return the SHA-256 of the authority's public key: what an invitation pins."""
    return hashlib.sha256(bytes.fromhex(key.hex)).hexdigest()


def reencrypted(data: bytes, old: bytes | None, new: bytes | None) -> bytes:
    """Return a key file under another passphrase, or none; what follows the key is kept.

    Raises:
        KeyRefused: It is no private key, or the passphrase is wrong.
    """
    key = _load(data, old)
    if not isinstance(key, Ed25519PrivateKey | X25519PrivateKey | ec.EllipticCurvePrivateKey):
        raise KeyRefused("A key file is not a private key of a kind that is used here.")
    # A leaf's file has its certificate after the key.
    mark = b"-----BEGIN CERTIFICATE-----"
    _, found, rest = data.partition(mark)
    return _pkcs8(key, new) + found + rest


def _pkcs8(
    key: Ed25519PrivateKey | X25519PrivateKey | ec.EllipticCurvePrivateKey,
    passphrase: bytes | None,
) -> bytes:
    protection = NoEncryption() if passphrase is None else BestAvailableEncryption(passphrase)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, protection)


def _load(data: bytes, passphrase: bytes | None) -> object:
    encrypted = is_encrypted(data)
    if encrypted and not passphrase:
        raise KeyRefused(
            "A key file is encrypted and no passphrase was given.",
            hint="Name a file that holds it: --passphrase-file FILE or FUSION_PASSPHRASE_FILE.",
        )
    try:
        return load_pem_private_key(data, password=passphrase if encrypted else None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        if encrypted:
            raise PassphraseWrong("The passphrase does not open a key file.") from None
        raise KeyRefused("A key file is not a private key in PEM form.") from None
