"""Where statements end, and what of a text is a word, a text or a remark: enough SQL for a shell.

No judgement of a statement: that is the owner's node's.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

END: Final = ";"
BYTE_ORDER_MARK: Final = "\ufeff"
"""What some editors write before a text in UTF-8."""

_TOKEN: Final = re.compile(
    r"""(?P<remark>--[^\n]*|/\*.*?\*/)
    |(?P<text>'(?:[^']|'')*')
    |(?P<quoted>"(?:[^"]|"")*")
    |(?P<open>['"].*|/\*.*)
    |(?P<word>[A-Za-z_\u4e00-\u9fff][A-Za-z0-9_\u4e00-\u9fff]*)
    |(?P<number>\d+(?:\.\d+)?)
    |(?P<mark>\S)""",
    re.DOTALL | re.VERBOSE,
)


@dataclass(frozen=True, slots=True)
class Token:
    """A piece of SQL.

    Attributes:
        kind: ``word``, ``quoted`` (a name in double quotes), ``text``, ``number``, ``remark``,
            ``mark`` (any other character), or ``open``: a text, a name or a remark without an end.
        text: As it is written.
        start: Its first character.
    """

    kind: str
    text: str
    start: int

    @property
    def end(self) -> int:
        """The character after its last."""
        return self.start + len(self.text)


def tokens(sql: str) -> list[Token]:
    """Return the pieces of a text, spaces left out."""
    return [Token(str(m.lastgroup), m.group(), m.start()) for m in _TOKEN.finditer(sql)]


def split(sql: str) -> tuple[list[str], str]:
    """Return the statements that end with a semicolon, without it, and what follows the last.

    A statement of spaces and remarks alone is none.
    """
    found, begin, some = [], 0, False
    for token in tokens(sql):
        if token.kind == "mark" and token.text == END:
            if some:
                found.append(sql[begin : token.start].strip())
            begin, some = token.end, False
        elif token.kind != "remark":
            some = True
    return found, sql[begin:]


def one(sql: str) -> str:
    """Return a statement without a byte order mark before it and one semicolon after it.

    Nothing else is taken away: what has two statements has them still.
    """
    own = sql.removeprefix(BYTE_ORDER_MARK).strip()
    last = next((token for token in reversed(tokens(own)) if token.kind != "remark"), None)
    if last is None or (last.kind, last.text) != ("mark", END):
        return own
    # A remark after it stays: it may be the rest of a line that somebody reads.
    return (own[: last.start] + own[last.end :]).strip()


def is_blank(sql: str) -> bool:
    """Return whether there is nothing in a text but spaces and remarks."""
    return all(token.kind == "remark" for token in tokens(sql))


def part_at(sql: str, start: int) -> int:
    """Return how many characters the piece has that begins here: 1 where none does."""
    return next((len(t.text.split("\n")[0]) for t in tokens(sql) if t.start == start), 1)
