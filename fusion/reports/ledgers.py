"""The section about evidence: the logs, who has cosigned them, and the chain of a run in them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from fusion.reports.page import paragraph, section, table
from fusion.reports.words import Words, same

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    Log = Mapping[str, Any]

_SHORT: Final = 16
_HUB: Final = "hub"


def ledgers_section(result: Mapping[str, Any]) -> str:
    """Return the section, or nothing where no logs were audited.

    Args:
        result: The run's record, with ``ledgers`` as ``fusion audit --json`` prints them.
    """
    logs: Sequence[Log] = (result.get("ledgers") or {}).get("logs", [])
    if not logs:
        return ""
    note = Words(
        "Every organisation and the hub keep a log to which entries are only added (RFC 6962). "
        "The others cosign what it has grown to, so that a log that was changed, cut, forked or "
        "put back is found out. At the end all logs were exported and audited with every process "
        "stopped: hashes, signatures, witnesses, the rules between entries, and the logs against "
        "each other.",
        "每个机构和枢纽都保存一份只增不改的日志（RFC 6962）。其他机构对其增长状态联署，"
        "因此日志一旦被修改、截断、分叉或回滚即可发现。运行结束后，在所有进程停止的情况下导出并审计了全部日志："
        "哈希、签名、见证、条目之间的规则，以及各日志之间的一致性。",
    )
    return section(
        Words("What the logs prove", "日志证明了什么"),
        _logs(logs),
        _chain(result, logs),
        paragraph(note, "soft"),
    )


def _logs(logs: Sequence[Log]) -> str:
    heads = [
        Words("log", "日志"),
        Words("entries", "条目"),
        Words("witnessed", "已见证"),
        Words("cosigned by", "联署方"),
        Words("sums opened", "已打开的和"),
        Words("root", "根"),
    ]
    rows = [
        [
            same(str(log["organisation"])),
            same(str(log["entries"])),
            same(str(log["witnessed"])),
            Words(
                f"{len(log['witnesses'])} of {log['others']}",
                f"{log['others']} 方中的 {len(log['witnesses'])} 方",
            ),
            same(str(log["openings"])),
            same(str(log["root"])[:_SHORT]),
        ]
        for log in logs
    ]
    return table(heads, rows)


def _chain(result: Mapping[str, Any], logs: Sequence[Log]) -> str:
    """Return the run as the logs tell it: each sum, who opened it, and what came of them."""
    job = str(result.get("job", ""))
    hub = next((log for log in logs if log["organisation"] == _HUB), None)
    if hub is None:
        return ""
    heads = [
        Words("round", "轮次"),
        Words("entry of the hub", "枢纽条目"),
        Words("contributions", "贡献"),
        Words("opened by", "打开方"),
        Words("opening", "打开的标识"),
    ]
    rows = []
    for item in hub["sums"]:
        if item["job"] != job:
            continue
        holders = [
            f"{log['organisation']} ({other['entry']})"
            for log in logs
            if log is not hub
            for other in log["sums"]
            if (other["job"], other["opening"]) == (job, item["opening"])
        ]
        rows.append(
            [
                same(str(item["round"])),
                same(str(item["entry"])),
                same(str(item["contributions"])),
                same(", ".join(holders) or "–"),
                same(str(item["opening"])[:_SHORT]),
            ]
        )
    begun = Words(
        f"Job {job}: the hub began it, each organisation agreed to its study, the sums below were "
        "opened once each, and the model was released. In brackets: the entry's number.",
        f"任务 {job}：由枢纽启动，各机构同意其研究，下列各和仅打开一次，最后发布模型。"
        "括号内为条目编号。",
    )
    return (
        paragraph(begun)
        + _orders(job, logs)
        + _permits(job, logs)
        + table(heads, rows, numbers=False)
    )


def _orders(job: str, logs: Sequence[Log]) -> str:
    """Return who ordered the run, by the entries of those who took the order."""
    taken: dict[tuple[str, str], list[str]] = {}
    for log in logs:
        for order in log.get("orders", []):
            if order["job"] == job:
                said = f"{log['organisation']} ({order['entry']})"
                taken.setdefault((order["operator"], order["ordered_at"]), []).append(said)
    return "".join(
        paragraph(
            Words(
                f"{operator} ordered it at {at}, as verified by {', '.join(found)}; the audit "
                "verified its signature again.",
                f"运营方 {operator} 于 {at} 下达运行指令，由 {'、'.join(found)} 各自核验；"
                "审计已重新核验签名。",
            )
        )
        for (operator, at), found in taken.items()
    )


def _permits(job: str, logs: Sequence[Log]) -> str:
    """Return under which grant each organisation permitted the run, by the entries that say so."""
    permits: dict[str, list[str]] = {}
    for log in logs:
        for decision in log.get("decisions", []):
            if decision["job"] == job and decision["permit"]:
                said = f"{log['organisation']} ({decision['entry']})"
                permits.setdefault(decision["grant"], []).append(said)
    return "".join(
        paragraph(
            Words(
                f"Grant {grant[:_SHORT]} permits it, as decided by {', '.join(found)}; the audit "
                "made each decision again.",
                f"授权 {grant[:_SHORT]} 允许该任务，由 {'、'.join(found)} 各自判定；"
                "审计已逐一重新判定。",
            )
        )
        for grant, found in permits.items()
    )
