"""The report of an alignment: who took part, how it went, and what its operator was told."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from fusion.reports.page import facts, page, paragraph, section, table, without_namespace
from fusion.reports.words import Words, same, spans

if TYPE_CHECKING:
    from collections.abc import Mapping

    Record = Mapping[str, Any]

_STATUS: Final = {
    "done": (Words("done", "已完成"), "good"),
    "failed": (Words("failed", "失败"), "bad"),
    "stopped": (Words("stopped", "已停止"), "bad"),
}
_OUTCOMES: Final = {
    "size": Words("one party learns how many records are common", "一方得知共同记录数"),
    "one": Words("one party learns which records are common", "一方得知共同记录"),
    "both": Words("both parties learn which records are common", "双方得知共同记录"),
}
_PROTOCOLS: Final = {
    "masking": Words("masking twice (Diffie-Hellman, ristretto255)", "双重掩码（ristretto255）"),
    "rr22": Words("RR22 (SecretFlow's spu)", "RR22（隐语 spu）"),
}


def render(record: Record, sizes: Record, *, language: str = "en") -> str:
    """Return the report as one HTML file.

    Args:
        record: The run's, as :func:`federated.records.record` makes it.
        sizes: What its operator was told, as ``fusion.align/1`` has it; empty if nothing was.
        language: ``en`` or ``zh``: what is shown first; the page has both.
    """
    status, kind = _STATUS.get(str(record.get("status", "")), (Words("running", "进行中"), "soft"))
    name, message = str(record.get("study", "")), str(record.get("message") or "")
    header = (
        f"<h1>{spans(Words(f'Alignment: {name}', f'记录对齐：{name}'))}</h1>"
        f'<p class="{kind}"><strong>{spans(status)}</strong> '
        f'<span class="soft">{spans(same(str(record.get("job", ""))))}</span></p>'
        + (paragraph(same(message)) if message else "")
    )
    body = _sizes(sizes) + _course(record)
    footer = paragraph(
        Words(
            "Made from the run's events and from what parties told the operator.",
            "依据运行事件以及各方告知运营方的内容生成。",
        ),
        "soft",
    )
    return without_namespace(page(f"Banyan: {name}", language, header, body, footer))


def _sizes(sizes: Record) -> str:
    if not sizes:
        return ""
    rows = [[same(str(each["organisation"])), _count(each["records"])] for each in sizes["parties"]]
    rows.append([Words("common", "共同"), _count(sizes["common"])])
    heads = [Words("records of", "记录属于"), Words("how many", "数量")]
    note = Words("No record left its owner.", "任何记录都未离开其所有者。")
    return section(
        Words("The same people", "同一人群"),
        table(heads, rows, strong=frozenset({len(rows) - 1})),
        paragraph(note, "soft"),
    )


def _course(record: Record) -> str:
    told = [
        (Words("parties", "参与方"), same(", ".join(map(str, record.get("organisations", []))))),
        (Words("operator", "运营方"), same(str(record.get("operator", "–")))),
        (Words("outcome", "结果"), _OUTCOMES.get(str(record.get("outcome")), same("–"))),
        (Words("protocol", "协议"), _PROTOCOLS.get(str(record.get("protocol")), same("–"))),
        (Words("attempts", "尝试次数"), same(str(len(record.get("attempts") or [])))),
        (Words("MB between parties", "各方之间的流量（MB）"), same(_mega(record.get("sent")))),
        (Words("from", "开始"), same(str(record.get("started", "–")))),
        (Words("to", "结束"), same(str(record.get("ended", "–")))),
    ]
    return section(Words("How it went", "过程"), facts(told))


def _count(value: object) -> Words:
    return same(f"{value:,}" if isinstance(value, int) else "–")


def _mega(value: object) -> str:
    return f"{value / 1e6:.1f}" if isinstance(value, int) else "–"
