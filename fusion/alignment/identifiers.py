"""Identifiers as they are aligned: one spelling for each, or a reason why there is none.

Kinds: ``resident_id`` (GB 11643-1999; 15 digits of before 1999 are written with 18), ``uscc``
(GB 32100-2015), ``phone`` (mobile numbers of mainland China), ``text`` (any other key). What
spreadsheets and keyboards add is taken away: full-width forms (NFKC), blanks, dashes, a leading
apostrophe, ``="..."``, ``.0`` behind a number that a double holds exactly. What they have lost is
not made up: a number in scientific notation, or with more than 15 digits that has passed through a
double, is rejected. Nothing here says whether an identifier belongs to anybody.
"""

from __future__ import annotations

import math
import re
import unicodedata
from datetime import date
from typing import TYPE_CHECKING, Final, Literal

from fusion.catalogue.identifiers import check_enterprise, check_person, person_check
from fusion.errors import DataInvalid

if TYPE_CHECKING:
    from collections.abc import Callable

Kind = Literal["resident_id", "uscc", "phone", "text"]
Reason = Literal["digits-lost", "length", "characters", "date", "check", "century", "too-long"]
MAX_TEXT: Final = 256
"""Characters of a ``text`` key."""
EXACT_DIGITS: Final = 15
"""Decimal digits that a double, and a spreadsheet's number, holds exactly."""

_FORMULA: Final = re.compile(r'="(.*)"')
_QUOTES: Final = "'`\u2018\u2019"
_SCIENTIFIC: Final = re.compile(r"[+-]?\d+(?:\.\d*)?[eE][+-]?\d+")
_WHOLE: Final = re.compile(r"(\d+)\.0*")
_DIGITS_AND_X: Final = re.compile(r"[0-9]+X?")
_PHONE: Final = re.compile(r"1[3-9][0-9]{9}")
_CENTENARIANS: Final = frozenset({"996", "997", "998", "999"})
"""GB 11643-1989: sequence numbers of those born before 1900."""
_ID_CHARACTERS: Final = 18
_FILLED_UP: Final = "0" * (_ID_CHARACTERS - EXACT_DIGITS)
"""What a spreadsheet writes for the digits that it did not keep."""
_OLD_ID_CHARACTERS: Final = 15


class Rejected(Exception):
    """A cell holds no identifier of the kind.

    Attributes:
        reason: Why.
    """

    def __init__(self, reason: Reason) -> None:
        """Say why; the cell is not quoted."""
        super().__init__(reason)
        self.reason: Reason = reason


def normalise(kind: Kind, cell: object, *, fold: bool = False) -> str | None:
    """Return the one spelling of an identifier; None where the cell is empty.

    Args:
        kind: Of the identifier.
        cell: As it was read: text, a number, or None.
        fold: Of ``text``: whether upper and lower case are the same.

    Raises:
        Rejected: It is none of this kind.
    """
    text = _written(cell)
    if text is None:
        return None
    if kind == "text":
        return _text(text, fold=fold)
    bare = _bare(text)
    return _READERS[kind](bare) if bare else None


def looks_cut(kind: Kind, cell: object) -> bool:
    """Return whether a cell may be 18 digits of which a spreadsheet kept 15.

    One in 11 resident ids that are cut so has a check character that fits, by chance.
    """
    if kind not in {"resident_id", "uscc"} or isinstance(cell, bool | float):
        return False
    text = _written(cell)
    return text is not None and _cut(_bare(text))


def _bare(text: str) -> str:
    """Return text without blanks and dashes, in upper case."""
    return "".join(mark for mark in text if unicodedata.category(mark) not in {"Zs", "Pd"}).upper()


def _cut(bare: str) -> bool:
    whole = len(bare) == _ID_CHARACTERS and bare.isascii() and bare.isdigit()
    return whole and bare.endswith(_FILLED_UP)


def is_identifier(kind: Kind, cell: object) -> bool:
    """Return whether a cell holds an identifier of the kind."""
    try:
        return normalise(kind, cell) is not None
    except Rejected:
        return False


def _written(cell: object) -> str | None:
    """Return a cell as text without what a spreadsheet added; None if nothing is left."""
    if cell is None or (isinstance(cell, float) and math.isnan(cell)):
        return None
    if isinstance(cell, bool):
        raise Rejected("characters")
    if isinstance(cell, float):
        if not cell.is_integer() or abs(cell) >= 10**EXACT_DIGITS:
            raise Rejected("digits-lost")
        cell = int(cell)
    text = str(cell)
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text)
    if not text.isprintable() or "\N{SOFT HYPHEN}" in text:
        # Control characters, byte order marks, zero-width blanks: nothing that is read.
        text = "".join(" " if mark in "\t\r\n" else mark for mark in text)
        text = "".join(mark for mark in text if unicodedata.category(mark) not in {"Cc", "Cf"})
    text = text.strip()
    if (formula := _FORMULA.fullmatch(text)) is not None:
        text = formula[1].strip()
    return text.lstrip(_QUOTES).strip() or None


def _text(text: str, *, fold: bool) -> str:
    if fold:
        text = unicodedata.normalize("NFKC", text.casefold())
    if len(text) > MAX_TEXT:
        raise Rejected("too-long")
    return text


def _number(text: str) -> str:
    """Return a number that was kept as a number in its digits, if all of them are there."""
    if _SCIENTIFIC.fullmatch(text):
        raise Rejected("digits-lost")
    if (whole := _WHOLE.fullmatch(text)) is None:
        return text
    if len(whole[1]) > EXACT_DIGITS:
        raise Rejected("digits-lost")
    return whole[1]


def _person(bare: str) -> str:
    text = _number(bare)
    if not _DIGITS_AND_X.fullmatch(text):
        raise Rejected("characters")
    if len(text) == _OLD_ID_CHARACTERS:
        return _upgraded(text)
    if len(text) != _ID_CHARACTERS:
        raise Rejected("length")
    if not text[:17].isdigit():
        raise Rejected("characters")
    try:
        check_person(text)
    except DataInvalid:
        if _cut(text):
            raise Rejected("digits-lost") from None
        raise Rejected("date" if person_check(text[:17]) == text[17] else "check") from None
    return text


def _upgraded(text: str) -> str:
    """Return 15 digits as the 18 that they became in 1999 (GB 11643-1999, annex)."""
    if not text.isdigit():
        raise Rejected("characters")
    if text[12:] in _CENTENARIANS:
        raise Rejected("century")
    try:
        date(1900 + int(text[6:8]), int(text[8:10]), int(text[10:12]))
    except ValueError:
        raise Rejected("date") from None
    body = f"{text[:6]}19{text[6:]}"
    return body + person_check(body)


def _enterprise(bare: str) -> str:
    text = _number(bare)
    if not (text.isascii() and text.isalnum()):
        raise Rejected("characters")
    if len(text) != _ID_CHARACTERS:
        raise Rejected("length")
    try:
        check_enterprise(text)
    except DataInvalid:
        raise Rejected("digits-lost" if _cut(text) else "check") from None
    return text


def _phone(bare: str) -> str:
    text = _number(re.sub(r"[().]", "", bare) if not _WHOLE.fullmatch(bare) else bare)
    for prefix, length in (("+86", 14), ("0086", 15), ("86", 13)):
        if text.startswith(prefix) and len(text) == length:
            text = text[len(prefix) :]
            break
    if not (text.isascii() and text.isdigit()):
        raise Rejected("characters")
    if len(text) != 11:
        raise Rejected("length")
    if not _PHONE.fullmatch(text):
        raise Rejected("characters")
    return text


_READERS: Final[dict[str, Callable[[str], str]]] = {
    "resident_id": _person,
    "uscc": _enterprise,
    "phone": _phone,
}
