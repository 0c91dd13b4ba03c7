"""On which line of a TOML text each key stands; ``tomllib`` gives values without positions.

It reads text that ``tomllib`` has accepted, so it need not judge, only find its way. A key path is
a tuple of keys and of indices into arrays: ``("columns", 2, "max")``.
"""

from __future__ import annotations

import tomllib
from bisect import bisect_left
from dataclasses import dataclass, field
from typing import Final

KeyPath = tuple[str | int, ...]

_BLANK: Final = " \t"
_QUOTES: Final = ('"""', "'''", '"', "'")
_BARE_END: Final = frozenset(" \t\r\n=.]#,}")
_SCALAR_END: Final = frozenset(",]}#\n")


def line_of(text: str, path: KeyPath) -> int:
    """Return the line, from 1, of a key path, or of the nearest path above it that the text has."""
    lines = key_lines(text)
    while path and path not in lines:
        path = path[:-1]
    return lines.get(path, 1)


def key_lines(text: str) -> dict[KeyPath, int]:
    """Return the line, from 1, of every key, table and array item of a valid TOML text."""
    scanner = _Scanner(text.replace("\r\n", "\n"))
    scanner.scan()
    return scanner.lines


@dataclass(slots=True)
class _Scanner:
    """One pass over the text."""

    text: str
    at: int = 0
    lines: dict[KeyPath, int] = field(default_factory=dict)
    arrays: dict[KeyPath, int] = field(default_factory=dict)
    ends: list[int] = field(default_factory=list)

    def scan(self) -> None:
        """Walk through all statements."""
        self.ends = [at for at, sign in enumerate(self.text) if sign == "\n"]
        table: KeyPath = ()
        self._skip()
        while self.at < len(self.text):
            if self._peek("["):
                table = self._header()
            else:
                self._pair(table)
            self._skip()

    def _peek(self, token: str) -> bool:
        return self.text.startswith(token, self.at)

    def _note(self, path: KeyPath) -> None:
        self.lines.setdefault(path, bisect_left(self.ends, self.at) + 1)

    def _skip(self, *, extra: str = "\n") -> None:
        """Move past blanks, line ends and comments."""
        while self.at < len(self.text):
            if self.text[self.at] in _BLANK + extra:
                self.at += 1
            elif self.text[self.at] == "#":
                end = self.text.find("\n", self.at)
                self.at = len(self.text) if end < 0 else end
            else:
                return

    def _header(self) -> KeyPath:
        """Read ``[a.b]`` or ``[[a.b]]`` and return the path that its keys lie under."""
        start = self.at
        width = 2 if self._peek("[[") else 1
        self.at += width
        *above, last = self._key()
        self.at += width
        path: KeyPath = ()
        for part in above:
            path = self._inside((*path, part))
        path = (*path, last)
        if width == 2:
            self.arrays[path] = self.arrays.get(path, -1) + 1
        end, self.at = self.at, start
        self._note(path)
        path = self._inside(path)
        self._note(path)
        self.at = end
        return path

    def _inside(self, path: KeyPath) -> KeyPath:
        """Return the path of the newest table of an array of tables, else the path itself."""
        return (*path, self.arrays[path]) if path in self.arrays else path

    def _pair(self, table: KeyPath) -> None:
        """Read ``key = value``."""
        start = self.at
        path = table
        keys = self._key()
        end, self.at = self.at, start
        for key in keys:
            path = (*path, key)
            self._note(path)
        self.at = end + 1  # the equals sign
        self._skip(extra="")
        self._value(path)

    def _key(self) -> list[str]:
        """Read a dotted key, up to the sign that follows it."""
        keys = []
        while True:
            self._skip(extra="")
            start = self.at
            if self.text[self.at] in "\"'":
                self._string()
            else:
                while self.text[self.at] not in _BARE_END:
                    self.at += 1
            raw = self.text[start : self.at]
            keys.append(str(tomllib.loads(f"k = {raw}")["k"]) if raw[0] in "\"'" else raw)
            self._skip(extra="")
            if not self._peek("."):
                return keys
            self.at += 1

    def _value(self, path: KeyPath) -> None:
        """Move past a value, noting what lies in it."""
        if self.text[self.at] in "\"'":
            self._string()
        elif self._peek("["):
            self._array(path)
        elif self._peek("{"):
            self._inline(path)
        else:
            while self.at < len(self.text) and self.text[self.at] not in _SCALAR_END:
                self.at += 1

    def _string(self) -> None:
        quote = next(quote for quote in _QUOTES if self._peek(quote))
        self.at += len(quote)
        while not self._peek(quote):
            self.at += 2 if quote[0] == '"' and self.text[self.at] == "\\" else 1
        self.at += len(quote)
        # A multi-line string may end in up to two quotes of its own before the closing three.
        while len(quote) == 3 and self._peek(quote[0]):
            self.at += 1

    def _array(self, path: KeyPath) -> None:
        self.at += 1
        index = 0
        self._skip()
        while not self._peek("]"):
            self._note((*path, index))
            self._value((*path, index))
            self._skip()
            if self._peek(","):
                self.at += 1
                self._skip()
            index += 1
        self.at += 1

    def _inline(self, path: KeyPath) -> None:
        self.at += 1
        self._skip()
        while not self._peek("}"):
            self._pair(path)
            self._skip()
            if self._peek(","):
                self.at += 1
                self._skip()
        self.at += 1
