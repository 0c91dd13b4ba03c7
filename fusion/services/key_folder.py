"""A folder of private keys: PKCS #8 in PEM form, all under one passphrase or all without.

Whether they are encrypted is read off the files themselves. Keys that were replaced go to
``old/N/``, because what was sealed to them is still to be opened.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeVar

from fusion.crypto.sealing import SealingKey
from fusion.crypto.signing import SigningKey
from fusion.errors import KeyRefused, PassphraseWrong
from fusion.identity import keys
from fusion.services import passphrases
from fusion.services.files import make_folder, read_file, write_atomic

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from cryptography.hazmat.primitives.asymmetric import ec

_OLD: Final = "old"
_Key = TypeVar("_Key")


class KeyFolder:
    """The private keys of one party."""

    def __init__(self, path: Path, passphrase: bytes | None = None) -> None:
        """Take a folder.

        Args:
            path: Where it is.
            passphrase: For keys that are made in it; otherwise it is asked for when it is needed.
        """
        self.path: Final = path
        self._passphrase = passphrase

    @property
    def encrypted(self) -> bool:
        """Whether any key in the folder is encrypted."""
        return any(keys.is_encrypted(file.read_bytes()) for file in self.files())

    def files(self) -> list[Path]:
        """Return every key file, those to come and those replaced included."""
        return sorted(file for file in self.path.rglob("*.pem") if file.is_file())

    @property
    def passphrase(self) -> bytes | None:
        """What opens the keys; None if they are not encrypted.

        Raises:
            EnvironmentUnfit: They are, and nobody is there to say it.
        """
        if self._passphrase is None and self.encrypted:
            self._passphrase = passphrases.for_reading(self.path.parent)
        return self._passphrase

    def __contains__(self, name: str) -> bool:
        """Whether there is a key of this name."""
        return self._file(name).exists()

    def signing(self, name: str) -> SigningKey:
        """Return an Ed25519 key.

        Raises:
            EnvironmentUnfit: The file can't be read.
            KeyRefused: It is something else.
            PassphraseWrong: The passphrase that was given does not open it; says where it is from.
        """
        return self.opened(keys.signing_from_pem, read_file(self._file(name)))

    def sealing(self, name: str) -> SealingKey:
        """Return an X25519 key; raises what :meth:`signing` does."""
        return self.opened(keys.sealing_from_pem, read_file(self._file(name)))

    def tls(self, name: str) -> ec.EllipticCurvePrivateKey:
        """Return a P-256 key; raises what :meth:`signing` does."""
        return self.opened(keys.tls_from_pem, read_file(self._file(name)))

    def fleet(self, name: str) -> ec.EllipticCurvePrivateKey:
        """Return a P-384 key; raises what :meth:`signing` does."""
        return self.opened(keys.fleet_from_pem, read_file(self._file(name)))

    def old_sealing(self, name: str) -> list[SealingKey]:
        """Return the X25519 keys that were replaced, newest first; raises as :meth:`signing`."""
        files = sorted(
            self.path.glob(f"{_OLD}/*/{name}.pem"), key=lambda f: int(f.parent.name), reverse=True
        )
        return [self.opened(keys.sealing_from_pem, read_file(file)) for file in files]

    def opened(self, read: Callable[[bytes, bytes | None], _Key], data: bytes) -> _Key:
        """Return the key that is in a file, under this folder's passphrase.

        Raises:
            KeyRefused: It is something else.
            PassphraseWrong: The passphrase that was given does not open it; says where it is from.
        """
        try:
            return read(data, self.passphrase)
        except PassphraseWrong:
            raise self._wrong() from None

    def _wrong(self) -> PassphraseWrong:
        source = passphrases.source()
        return PassphraseWrong(
            f"The passphrase from {source} does not open the private keys in {self.path}.",
            hint=passphrases.WRONG,
        )

    def write(self, name: str, key: SigningKey | SealingKey | ec.EllipticCurvePrivateKey) -> None:
        """Keep a key, encrypted as the others are."""
        write_atomic(self._file(name), self.pem(key))

    def pem(self, key: SigningKey | SealingKey | ec.EllipticCurvePrivateKey) -> bytes:
        """Return a key as this folder keeps it."""
        if isinstance(key, SigningKey):
            return keys.signing_pem(key, self.passphrase)
        if isinstance(key, SealingKey):
            return keys.sealing_pem(key, self.passphrase)
        return keys.tls_pem(key, self.passphrase)

    def below(self, name: str) -> KeyFolder:
        """Return a folder within, made if need be, under the same passphrase."""
        return KeyFolder(make_folder(self.path / name), self.passphrase)

    def replace_by(self, other: KeyFolder, number: int) -> None:
        """Put the keys of another folder in place of those here, which are kept.

        A change that was interrupted is completed by calling it again: a key is copied away
        before it is replaced, and what was moved is not found again.

        Args:
            other: The keys to come.
            number: Names the folder for those replaced.
        """
        make_folder(self.path / _OLD)
        old = make_folder(self.path / _OLD / str(number))
        for file in sorted(other.path.glob("*.pem")):
            current, kept = self.path / file.name, old / file.name
            if current.exists() and not kept.exists():
                write_atomic(kept, current.read_bytes())
            write_atomic(current, file.read_bytes())
            file.unlink()

    def change_passphrase(self, old: bytes | None, new: bytes | None) -> int:
        """Encrypt every key anew; return how many there are.

        Files are replaced one by one, and those that were are recognised: if it is interrupted,
        the same change again completes it.

        Raises:
            KeyRefused: A key opens with neither of the two.
        """
        done = 0
        for file in self.files():
            data = read_file(file)
            try:
                changed = keys.reencrypted(data, old, new)
            except KeyRefused as error:
                try:
                    keys.reencrypted(data, new, new)
                except KeyRefused:
                    wrong = isinstance(error, PassphraseWrong)
                    raise (self._wrong() if wrong else error) from None
            else:
                write_atomic(file, changed)
            done += 1
        self._passphrase = new
        return done

    def _file(self, name: str) -> Path:
        return self.path / f"{name}.pem"
