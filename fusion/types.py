"""Words shared by all layers: names with a meaning, no behaviour beyond validation."""

from __future__ import annotations

import re
from typing import NewType

from fusion.errors import InputInvalid

OrgId = NewType("OrgId", str)

_ORG_ID = re.compile(r"[a-z0-9](?:[a-z0-9.-]{0,61}[a-z0-9])?")


def org_id(text: str) -> OrgId:
    """Return ``text`` as an organisation identifier (DNS characters, 1 to 63 of them).

    Raises:
        InputInvalid: It is not one.
    """
    if not _ORG_ID.fullmatch(text):
        msg = f"{text!r} is not an organisation identifier."
        raise InputInvalid(
            msg,
            hint="Use 1 to 63 lower-case letters, digits, dots and hyphens: tax.city.example.",
        )
    return OrgId(text)
