"""The section about grants: who allowed whom what, for which purpose, until when."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from fusion.reports.page import paragraph, section, table
from fusion.reports.words import Words, same

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_DIGITS: Final = 16
_STANDING: Final = {
    "finalized": Words("signed by all", "各方均已签署"),
    "terminated": Words("revoked", "已撤销"),
}


def grants_section(grants: Sequence[Mapping[str, Any]], where: Words | None = None) -> str:
    """Return the section, or nothing where no grant is known.

    Args:
        grants: As :func:`fusion.services.run_basis.granted` returns them.
        where: Said below: who knows of no others.
    """
    if not grants:
        return ""
    heads = [
        Words("grant", "授权"),
        Words("title", "标题"),
        Words("for", "用于"),
        Words("from", "授权方"),
        Words("to", "被授权方"),
        Words("purpose", "用途"),
        Words("from when", "生效时间"),
        Words("until", "有效期至"),
        Words("standing", "状态"),
    ]
    rows = [
        [
            same(str(each["id"])[:_DIGITS]),
            same(str(each["title"])),
            same(", ".join(map(str, each["for"]))),
            same(", ".join(map(str, each["from"]))),
            same(str(each["to"])),
            same(str(each["purpose"])),
            same(str(each["not_before"])),
            same(str(each["not_after"])),
            _STANDING.get(str(each["standing"]), same(str(each["standing"]))),
        ]
        for each in grants
    ]
    note = [] if where is None else [paragraph(where, "soft")]
    return section(
        Words("Under which grants", "依据的授权"), table(heads, rows, numbers=False), *note
    )
