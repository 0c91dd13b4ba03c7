"""What could be typed next in a query shell: commands, keywords, names of the policy, values.

A function of the text, the cursor and what the owner's node told of the policy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from fusion.services.statements import END, tokens

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from fusion.services.query_description import ColumnDescribed, Described, TableDescribed
    from fusion.services.statements import Token

KEYWORDS: Final = (
    "select", "distinct", "from", "where", "group by", "having", "order by", "limit", "offset",
    "join", "inner join", "left join", "on", "using", "with", "as", "union", "union all",
    "and", "or", "not", "in", "between", "like", "is null", "is not null", "exists",
    "case", "when", "then", "else", "end", "filter", "over", "partition by", "asc", "desc",
    "true", "false", "null", "date", "interval", "within group",
)  # fmt: skip
_KEYWORD: Final = "keyword"
_FUNCTION: Final = "function"
_BEFORE_TABLES: Final = {"from", "join"}
_NO_ALIAS: Final = {
    word for keyword in KEYWORDS for word in keyword.split()
} | {"right", "full", "cross", "natural", "window", "qualify"}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Candidate:
    """Something that could stand here.

    Attributes:
        text: What would be written.
        length: How many characters before the cursor it replaces.
        about: What it is, for people.
    """

    text: str
    length: int
    about: str


def candidates(
    text: str, cursor: int, described: Described | None, commands: Sequence[tuple[str, str]] = ()
) -> list[Candidate]:
    """Return what could stand at the cursor, in the order to show it.

    Args:
        text: All that is being written.
        cursor: Before which character.
        described: What may be asked about; None where that is not known.
        commands: Of the shell, with what each does.
    """
    before = text[:cursor]
    tables = [] if described is None else described.tables
    if before.lstrip().startswith("\\"):
        return _of_commands(before.lstrip(), tables, commands)
    found = tokens(before)
    last = found[-1] if found else None
    if last is not None and last.kind in {"remark", "text"} and last.end == cursor:
        return []
    if last is not None and last.kind == "open":
        return _of_values(found, last, tables)
    touching = last is not None and last.end == cursor
    typed = last.text if last is not None and touching and last.kind == "word" else ""
    rest = found[:-1] if typed else found
    return [
        Candidate(_cased(word, about, typed), len(typed), about)
        for word, about in _possible(rest, text, described)
        if word.lower().startswith(typed.lower()) and word != typed
    ]


def _of_commands(
    line: str, tables: Sequence[TableDescribed], commands: Sequence[tuple[str, str]]
) -> list[Candidate]:
    name, space, rest = line.partition(" ")
    if not space:
        return [
            Candidate(word, len(name), what) for word, what in commands if word.startswith(name)
        ]
    typed = rest.lstrip()
    if name != "\\d":
        return []
    return [
        Candidate(table.name, len(typed), _about_table(table))
        for table in tables
        if table.name.lower().startswith(typed.lower())
    ]


def _of_values(
    found: Sequence[Token], last: Token, tables: Sequence[TableDescribed]
) -> list[Candidate]:
    """Return the values of the column that an unfinished text is compared with."""
    if not last.text.startswith("'"):
        return []
    typed, names = last.text[1:], [t.text.lower() for t in found[:-1] if t.kind == "word"]
    known = {c.name.lower(): c for table in tables for c in table.columns if c.values}
    column = next((known[name] for name in reversed(names) if name in known), None)
    if column is None:
        return []
    return [
        Candidate(f"{value}'", len(typed), f"a value of {column.name}")
        for value in column.values
        if value.lower().startswith(typed.lower()) and "'" not in value
    ]


def _possible(
    before: Sequence[Token], text: str, described: Described | None
) -> Iterator[tuple[str, str]]:
    """Yield what could stand after some tokens, and what it is."""
    tables = [] if described is None else described.tables
    last = before[-1] if before else None
    if last is not None and last.text == ".":
        named = _named(text, tables).get(before[-2].text.lower()) if len(before) > 1 else None
        yield from _columns([named] if named else [])
        return
    if last is None or last.text == END:
        yield from (("select", _KEYWORD), ("with", _KEYWORD))
        return
    if _expects_table(before):
        yield from ((table.name, _about_table(table)) for table in tables)
        return
    used = list(dict.fromkeys(table.name for table in _named(text, tables).values()))
    yield from _columns([t for t in tables if t.name in used] if used else tables)
    for function in () if described is None else described.functions:
        yield function, _FUNCTION
    for keyword in KEYWORDS:
        yield keyword, _KEYWORD


def _expects_table(before: Sequence[Token]) -> bool:
    """Return whether a table's name comes next: after FROM and JOIN, or a comma within FROM."""
    last = before[-1]
    if last.kind == "word" or last.text != ",":
        return last.text.lower() in _BEFORE_TABLES
    for token in reversed(before):
        word = token.text.lower()
        if word == "from":
            return True
        if word in _NO_ALIAS - {"as"} or (token.kind == "mark" and word != ","):
            return False
    return False


def _named(text: str, tables: Iterable[TableDescribed]) -> dict[str, TableDescribed]:
    """Return the tables that a text reads, under their names and the names it gives them."""
    known = {table.name.lower(): table for table in tables}
    words = [token for token in tokens(text) if token.kind != "remark"]
    found: dict[str, TableDescribed] = {}
    for place, token in enumerate(words[:-1]):
        table = known.get(words[place + 1].text.lower().strip('"'))
        if token.text.lower() not in _BEFORE_TABLES or table is None:
            continue
        found[table.name.lower()] = table
        after = [word.text.lower() for word in words[place + 2 : place + 4]]
        alias = after[1:2] if after[:1] == ["as"] else after[:1]
        if alias and alias[0].isidentifier() and alias[0] not in _NO_ALIAS:
            found[alias[0]] = table
    return found


def _columns(tables: Iterable[TableDescribed]) -> Iterator[tuple[str, str]]:
    seen = set[str]()
    for table in tables:
        for column in table.columns:
            if column.name not in seen:
                seen.add(column.name)
                yield column.name, f"{table.name}: {about_column(column)}"


def about_column(column: ColumnDescribed) -> str:
    """Return what a column is, in short."""
    bounded = column.low is not None and column.high is not None
    within = f" {column.low} to {column.high}" if bounded else ""
    kind = column.class_ if column.class_ == column.type else f"{column.class_}, {column.type}"
    known = f", bin {column.bin}" if column.bin is not None else ""
    return f"{kind}{within}{known}"


def _about_table(table: TableDescribed) -> str:
    return "public table" if table.entity is None else f"table, by {table.entity}"


def _cased(word: str, about: str, typed: str) -> str:
    """Return a keyword or function in capitals where it was begun in capitals."""
    return word.upper() if typed.isupper() and about in {_KEYWORD, _FUNCTION} else word
