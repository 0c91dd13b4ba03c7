"""Files and folders of hubs, nodes and organisations: read, made, replaced whole.

Folders are 0700 and files 0600. A file is replaced whole or not at all (:func:`write_atomic`).
"""

from __future__ import annotations

import fcntl
import json
import os
import tomllib
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Final, TypeVar

from pydantic import BaseModel, ValidationError

from fusion.crypto import rng
from fusion.errors import EnvironmentUnfit, InputInvalid
from fusion.wire.limits import MAX_NAME_CHARACTERS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from contextlib import AbstractContextManager
    from pathlib import Path

_Config = TypeVar("_Config", bound=BaseModel)


class Folder:
    """A folder that one party owns.

    Attributes:
        path: Where it is.
        keys: Where its private keys are.
    """

    def __init__(self, path: Path) -> None:
        """Take a folder; nothing is read."""
        self.path: Final = path
        self.keys: Final = path / "keys"

    @contextmanager
    def lock(self, name: str = ".lock") -> Iterator[None]:
        """Keep other processes from changing the folder in the meantime; do not nest.

        Raises:
            EnvironmentUnfit: The folder can't be written.
        """
        path = self.path / name
        try:
            file = path.open("ab")
        except OSError as error:
            raise unwritable(path, error) from error
        with file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    @property
    def writable(self) -> bool:
        """Whether this account may write the folder: of a backup, often not."""
        return os.access(self.path, os.W_OK)

    def lock_to_read(self) -> AbstractContextManager[None]:
        """Keep others from changing the folder, where it can be; else there is nothing to keep."""
        return self.lock() if self.writable else nullcontext()


def write_atomic(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Replace ``path`` durably: a reader sees the old file or the new one, also after a crash.

    Raises:
        EnvironmentUnfit: The disk is full, or the file can't be written; the old one stays.
    """
    temporary = path.with_name(f".{path.name}.{rng.token(6).hex()}")
    try:
        _replace(path, temporary, data, mode)
    except OSError as error:
        raise unwritable(path, error) from error


def _replace(path: Path, temporary: Path, data: bytes, mode: int) -> None:
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def unwritable(path: Path, error: OSError) -> EnvironmentUnfit:
    """Return what is said where a file can't be written."""
    return EnvironmentUnfit(
        f"{path} can't be written: {error.strerror}.",
        hint="Is the disk full, or the folder only to be read? Does this account own it?",
    )


def make_folder(path: Path) -> Path:
    """Make a folder that nobody else may enter, and so each folder on the way to it; return it.

    Raises:
        EnvironmentUnfit: It can't be made.
    """
    try:
        _made(path)
    except OSError as error:
        raise unwritable(path, error) from error
    return path


def _made(path: Path) -> None:
    """Make a folder; `parents=True` of mkdir gives parents the mode that the umask leaves."""
    try:
        path.mkdir(mode=0o700, exist_ok=True)
    except FileNotFoundError:
        if path.parent == path:
            raise
        _made(path.parent)
        path.mkdir(mode=0o700, exist_ok=True)


def new_home(path: Path, marker: str, kind: str, *, beside: str = "") -> Path:
    """Make the folder of a new hub, node or organisation; return its absolute path.

    Args:
        path: Where.
        marker: The file that makes it one.
        kind: What it becomes, in words.
        beside: A file that may be there already, with what belongs to it.

    Raises:
        InputInvalid: It holds something already.
        EnvironmentUnfit: It can't be made.
    """
    if (path / marker).exists():
        raise InputInvalid(
            f"{path} is {_a(kind)} already.",
            hint="Go on with it, or name a new folder; its keys can't be made again.",
        )
    try:
        _made(path)
        used = any(path.iterdir()) and not (beside and (path / beside).exists())
    except (FileExistsError, NotADirectoryError):
        used = True
    except OSError as error:
        raise EnvironmentUnfit(f"{path} can't be made: {error.strerror}.") from error
    if used:
        raise InputInvalid(
            f"{path} is in use and is no {kind}.", hint="Name a new or an empty folder."
        )
    path.chmod(0o700)
    return path.resolve()


def _a(noun: str) -> str:
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def read_file(path: Path) -> bytes:
    """Return what is in a file of a folder.

    Raises:
        EnvironmentUnfit: It can't be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise EnvironmentUnfit(
            f"{path} can't be read: {error.strerror}.",
            hint="Restore it from a backup, or check who owns it.",
        ) from error


def read_config(path: Path, model: type[_Config], kind: str) -> _Config:
    """Read a configuration, which makes its folder what it is.

    Raises:
        InputInvalid: There is none, or it is wrong.
    """
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        raise InputInvalid(
            f"{path.parent} is no {kind}: there is no readable {path.name} in it.",
            hint=f"Name the folder that `fusion {kind} init` made.",
        ) from None
    try:
        # Through JSON: strict validation reads a path from a string there, and only there.
        return model.model_validate_json(json.dumps(tomllib.loads(text)))
    except (tomllib.TOMLDecodeError, TypeError) as error:
        raise InputInvalid(f"{path} is not TOML: {error}.") from None
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise InputInvalid(f"{path}: {where}: {first['msg']}.") from None


def toml_text(values: Mapping[str, str | int | bool | list[str] | Mapping[str, str]]) -> bytes:
    """Return a TOML document of strings, integers, lists and tables of strings.

    JSON's strings are TOML's basic strings, but for DEL, which names may not contain.
    """
    lines = []
    tables = []
    for key, value in values.items():
        if isinstance(value, str | int):
            lines.append(f"{key} = {_quoted(value)}")
        elif isinstance(value, list):
            lines.append(f"{key} = [{', '.join(map(_quoted, value))}]")
        else:
            entries = [f"{_quoted(k)} = {_quoted(v)}" for k, v in value.items()]
            tables += ["", f"[{key}]", *entries]
    return ("\n".join([*lines, *tables]) + "\n").encode()


def readable_name(text: str) -> str:
    """Return a name for people, as it may stand in files and on screens.

    Raises:
        InputInvalid: Too long, or with control characters.
    """
    if len(text) > MAX_NAME_CHARACTERS or not text.isprintable():
        raise InputInvalid(
            "A name has control characters or is too long.",
            hint=f"Use at most {MAX_NAME_CHARACTERS} printable characters.",
        )
    return text


def _quoted(value: str | int) -> str:
    return json.dumps(value, ensure_ascii=False)
