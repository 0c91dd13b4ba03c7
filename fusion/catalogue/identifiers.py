"""Identifiers of persons, enterprises and places: their check characters; made-up ones.

* Person: citizen identification number, GB 11643-1999: six digits of a division code, eight of a
  birth date, three of a sequence, and a check character by ISO 7064 MOD 11-2.
* Enterprise: unified social credit code, GB 32100-2015: registration authority, category, six
  digits of a division code, nine characters of an organisation code (GB 11714-1997, whose last one
  checks the eight before it), and a check character modulo 31 over an alphabet without I, O, S, V
  and Z.
* Place: county-level division code, GB/T 2260-2007: six digits, of which the first two name a
  province.

A number that passes is well formed; whether somebody has it is not said. Whether a division code
beyond its province is assigned is not looked up: codes change every year, and old numbers stay.
A failed check never quotes the value.
"""

from __future__ import annotations

from datetime import date, timedelta
from typing import TYPE_CHECKING, Final

from fusion.crypto import rng
from fusion.errors import DataInvalid

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_PROVINCE_RANGES: Final = (
    (11, 15),
    (21, 23),
    (31, 37),
    (41, 46),
    (50, 54),
    (61, 65),
    (71, 71),
    (81, 82),
)
PROVINCES: Final = frozenset(
    str(code) for first, last in _PROVINCE_RANGES for code in range(first, last + 1)
)
"""GB/T 2260: the first two digits of a division code."""
UNASSIGNED: Final = "99"
"""First two digits that no division has: where made-up identifiers come from."""
_ALPHABET: Final = "0123456789ABCDEFGHJKLMNPQRTUWXY"
"""GB 32100, 5.2: digits and letters without I, O, S, V, Z, by value."""
_ORGANISATION_ALPHABET: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_PERSON_CHECKS: Final = "10X98765432"
_FIRST_DAY: Final = date(1850, 1, 1)
_MADE_UP_FIRST: Final = date(1940, 1, 1)
_MADE_UP_DAYS: Final = 365 * 80
_ORGANISATION_WEIGHTS: Final = (3, 7, 9, 10, 5, 8, 4, 2)


def _refused(what: str) -> DataInvalid:
    return DataInvalid(f"This is no {what}.")


def person_check(body: str) -> str:
    """Return the check character of the 17 digits before it (GB 11643, ISO 7064 MOD 11-2)."""
    total = sum(int(digit) * pow(2, 17 - at, 11) for at, digit in enumerate(body))
    return _PERSON_CHECKS[total % 11]


def enterprise_check(body: str) -> str:
    """Return the check character of the 17 characters before it (GB 32100, 5.6 and annex B)."""
    total = sum(_ALPHABET.index(mark) * pow(3, at, 31) for at, mark in enumerate(body))
    return _ALPHABET[-total % 31]


def organisation_check(body: str) -> str:
    """Return the check character of the 8 characters before it (GB 11714)."""
    total = sum(
        _ORGANISATION_ALPHABET.index(mark) * weight
        for mark, weight in zip(body, _ORGANISATION_WEIGHTS, strict=True)
    )
    return "0123456789X0"[11 - total % 11]


def check_person(text: str) -> None:
    """Return if a text is a well-formed citizen identification number of 18 characters.

    Raises:
        DataInvalid: It is not: length, characters, birth date or check character.
    """
    body = text[:17]
    if len(text) != 18 or not (body.isascii() and body.isdigit()):
        raise _refused("identification number (GB 11643)")
    try:
        born = date(int(text[6:10]), int(text[10:12]), int(text[12:14]))
    except ValueError:
        raise _refused("identification number (GB 11643)") from None
    # A lower-case x is how many people write it; it names the same person, but joins with nothing.
    if born < _FIRST_DAY or person_check(body) != text[17]:
        raise _refused("identification number (GB 11643)")


def check_enterprise(text: str) -> None:
    """Return if a text is a well-formed unified social credit code.

    Raises:
        DataInvalid: It is not: length, alphabet, division digits or check character.
    """
    if len(text) != 18 or any(mark not in _ALPHABET for mark in text):
        raise _refused("unified social credit code (GB 32100)")
    if not text[2:8].isdigit() or enterprise_check(text[:17]) != text[17]:
        raise _refused("unified social credit code (GB 32100)")


def check_place(text: str) -> None:
    """Return if a text is a division code of an existing province.

    Raises:
        DataInvalid: It is not six digits, or no province begins so.
    """
    if len(text) != 6 or not (text.isascii() and text.isdigit()) or text[:2] not in PROVINCES:
        raise _refused("division code (GB/T 2260)")


CHECKS: Final[dict[str, Callable[[str], None]]] = {
    "gb11643": check_person,
    "gb32100": check_enterprise,
    "gbt2260": check_place,
}
"""What checks an identifier, by scheme; other schemes have no check character."""


def count_invalid(scheme: str, values: Iterable[str]) -> int:
    """Return how many values of a scheme do not pass; a scheme without a check has none."""
    check = CHECKS.get(scheme)
    if check is None:
        return 0
    invalid = 0
    for value in values:
        try:
            check(value)
        except DataInvalid:
            invalid += 1
    return invalid


# ------------------------------------------------------------------------------- made up


def _digits(count: int) -> str:
    return f"{rng.below(10**count):0{count}}"


def _made_up_person() -> str:
    born = _MADE_UP_FIRST + timedelta(days=rng.below(_MADE_UP_DAYS))
    body = f"{UNASSIGNED}{_digits(4)}{born:%Y%m%d}{_digits(3)}"
    return body + person_check(body)


def _made_up_enterprise() -> str:
    organisation = "".join(_ALPHABET[rng.below(len(_ALPHABET))] for _ in range(8))
    body = f"91{UNASSIGNED}{_digits(4)}{organisation}{organisation_check(organisation)}"
    return body + enterprise_check(body)


def made_up(scheme: str) -> str:
    """Return an identifier that nobody has: well formed, of a division that does not exist.

    Without a national scheme it is 18 digits that begin with the same mark.
    """
    if scheme == "gb11643":
        return _made_up_person()
    if scheme == "gb32100":
        return _made_up_enterprise()
    if scheme == "gbt2260":
        return f"{UNASSIGNED}{_digits(4)}"
    return f"{UNASSIGNED}{_digits(16)}"
