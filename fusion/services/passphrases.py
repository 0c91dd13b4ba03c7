"""Where the passphrase of private keys comes from: a file that is named, or a person.

It is never an argument: what stands on a command line can be read by every account of a machine.
A file beside the keys protects nobody's keys from whoever copies the folder; keep it elsewhere,
such as in a systemd credential or on a key server's mount.
"""

from __future__ import annotations

import getpass
import os
import sys
from pathlib import Path
from typing import Final

from fusion.errors import EnvironmentUnfit, InputInvalid

VARIABLE: Final = "FUSION_PASSPHRASE_FILE"
"""Names the file; the option ``--passphrase-file`` sets it for a process and its children."""

MIN_CHARACTERS: Final = 12
_MAX_BYTES: Final = 1023
_HINT: Final = (
    "Name a file that holds it (--passphrase-file FILE or FUSION_PASSPHRASE_FILE), or choose "
    "--no-passphrase when keys are made."
)

WRONG: Final = f"Name the file that holds theirs: --passphrase-file FILE or {VARIABLE}."
"""What to do where a passphrase opens no key."""

_asked: dict[Path, bytes] = {}
"""What a person typed in this process, so that nobody is asked twice."""


def read(file: Path) -> bytes:
    """Return the passphrase in a file: its first line.

    Raises:
        EnvironmentUnfit: The file can't be read.
        InputInvalid: It is empty, too short or too long.
    """
    try:
        with file.open("rb") as opened:
            data = opened.read(_MAX_BYTES + 2)
    except OSError as error:
        raise EnvironmentUnfit(
            f"The passphrase file {file} can't be read: {error.strerror}.", hint=_HINT
        ) from error
    return _checked(data.splitlines()[0] if data else b"")


def given() -> bytes | None:
    """Return the passphrase from the file that the environment names, if it names one.

    Raises:
        EnvironmentUnfit: The file can't be read.
        InputInvalid: It holds no usable passphrase.
    """
    name = os.environ.get(VARIABLE)
    return read(Path(name)) if name else None


def source() -> str:
    """Return where the passphrase is taken from, in words: never what it is."""
    return os.environ.get(VARIABLE) or "the terminal"


def for_reading(folder: Path) -> bytes:
    """Return the passphrase that opens a folder's keys.

    Raises:
        EnvironmentUnfit: None is given, and there is no terminal to ask at.
    """
    found = given()
    if found is not None:
        return found
    if folder not in _asked:
        _asked[folder] = _ask(f"Passphrase of {folder}: ")
    return _asked[folder]


def for_making(*, unencrypted: bool) -> bytes | None:
    """Return the passphrase for keys that are about to be made; None only if that was chosen.

    Raises:
        InputInvalid: It is too short, the two typed differ, or one is given and declined.
        EnvironmentUnfit: None is given, and there is no terminal to ask at.
    """
    found = given()
    if unencrypted:
        if found is not None:
            raise InputInvalid(
                "A passphrase is given, and --no-passphrase declines one.", hint="Leave out one."
            )
        return None
    if found is not None:
        return found
    return typed_twice()


def typed_twice() -> bytes:
    """Return a new passphrase from a person.

    Raises:
        InputInvalid: It is too short, or the two typed differ.
        EnvironmentUnfit: There is no terminal to ask at.
    """
    first = _checked(_ask("New passphrase: "))
    if _ask("The same again: ") != first:
        raise InputInvalid("The two passphrases differ.")
    return first


def _ask(words: str) -> bytes:
    if not sys.stdin.isatty():
        raise EnvironmentUnfit("Private keys need a passphrase, and none is given.", hint=_HINT)
    return getpass.getpass(words, stream=sys.stderr).encode()


def _checked(passphrase: bytes) -> bytes:
    if not MIN_CHARACTERS <= len(passphrase) <= _MAX_BYTES:
        raise InputInvalid(
            f"A passphrase has {MIN_CHARACTERS} to {_MAX_BYTES} bytes.",
            hint="Five random words are easy to type and hard to guess.",
        )
    return passphrase
