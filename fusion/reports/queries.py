"""The section about questions: what was asked, what left, what was refused and what would pass."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from fusion.reports.page import paragraph, section, table
from fusion.reports.words import Words, escape, same

if TYPE_CHECKING:
    from collections.abc import Mapping

    Question = Mapping[str, Any]

_RULES: Final = {
    "Q-04": ("名称不在策略中。", "查询只能看到策略列出的表和列。"),
    "Q-06": ("行数据不得离开。", "请按需分组，查询计数、求和或平均值。"),
    "Q-09": ("单个人的取值会自成一组。", "请按维度、数值的 CASE 区间或日期的 date_trunc 分组。"),
    "Q-10": (
        "该聚合会显示某一个人的取值。",
        "请使用 count、sum、avg、stddev，或策略范围内的分位数。",
    ),
    "Q-16": ("结果过大。", "请按更少或更粗的属性分组。"),
}
"""Rules and repairs in Chinese; another rule is shown as the node says it."""


def queries_section(result: Mapping[str, Any]) -> str:
    """Return the section, or nothing where nothing was asked.

    Args:
        result: The run's record, with ``queries``: owner, asker, dataset, whether queries are
            ``available``, and the questions with what became of each.
    """
    told = result.get("queries")
    if not told:
        return ""
    title = Words("Questions to data that stays where it is", "向不离开原处的数据提问")
    if not told.get("available"):
        words = Words(
            "Nothing on this machine confines untrusted work, so no node answers questions here. "
            "The verb doctor says why, and what to install.",
            "本机没有可用的隔离手段，因此各节点不回答查询。"
            "运行 doctor 命令可查看原因及需要安装的软件。",
        )
        return section(title, paragraph(words))
    owner, asker = str(told["owner"]), str(told["asker"])
    about = Words(
        f"{asker} asked {owner}, whose table stayed at its node; the hub carried what it can't "
        f"read. Grant {str(told['grant'])[:16]}, policy {str(told['policy'])[:16]}: groups of too "
        "few people are left out, and everything else is rounded.",
        f"{asker} 向 {owner} 提问，数据表始终留在 {owner} 的节点；枢纽只转发它无法读取的内容。"
        f"授权 {str(told['grant'])[:16]}，策略 {str(told['policy'])[:16]}："
        "人数过少的分组不予显示，其余结果均经取整。",
    )
    asked = told["questions"]
    cells = sum(
        value is not None for each in asked for row in each.get("rows", ()) for value in row
    )
    answered = sum(each["outcome"] == "answered" for each in asked)
    refused = len(asked) - answered
    left = Words(
        f"What left {owner}: {answered} answers to {asker}, {cells} cells of groups in all, and "
        f"{refused} refused. What left {asker}: {len(asked)} statements.",
        f"离开 {owner} 的内容：给 {asker} 的 {answered} 个回答，共 {cells} 个分组单元格，"
        f"以及 {refused} 次拒绝。离开 {asker} 的内容：{len(asked)} 条语句。",
    )
    return section(title, paragraph(about), *(_question(each) for each in asked), paragraph(left))


def _question(question: Question) -> str:
    head = f"<pre>{_statement(question)}</pre>"
    return head + (_refused(question) if question["outcome"] == "refused" else _answer(question))


def _statement(question: Question) -> str:
    """Return the statement, with a mark on what a refusal is about."""
    text, start = str(question["statement"]), question.get("start")
    if start is None:
        return escape(text)
    end = start + max(1, int(question.get("length") or 1))
    return f"{escape(text[:start])}<mark>{escape(text[start:end])}</mark>{escape(text[end:])}"


def _refused(question: Question) -> str:
    code, message, hint = (str(question.get(key) or "") for key in ("code", "message", "hint"))
    chinese = _RULES.get(code, (message, hint))
    return paragraph(
        Words(f"Refused, {code}: {message}", f"已拒绝，{code}：{chinese[0]}"), "bad"
    ) + paragraph(Words(f"What would pass: {hint}", f"可以这样改：{chinese[1]}"))


def _answer(question: Question) -> str:
    """Return the released table and what was held back."""
    heads = [same(str(name)) for name in question["columns"]]
    rows = [[same(_cell(value)) for value in row] for row in question["rows"]]
    notes = [
        paragraph(same(f"{note['message']} {note['hint']}".strip()), "soft")
        for note in question["notes"]
    ]
    empty = any(value is None for row in question["rows"] for value in row)
    if empty:
        words = Words(
            "–: of too few people, or held back.", "–：人数过少，或为保护他人而未予显示。"
        )
        notes.append(paragraph(words, "soft"))
    return table(heads, rows) + "".join(notes)


def _cell(value: Any) -> str:  # noqa: ANN401 - a released cell
    if value is None:
        return "–"
    if isinstance(value, float) and not value.is_integer():
        # An average is a quotient, with as many digits as a float has: here it is looked at.
        return f"{value:,.2f}" if abs(value) >= 1000 else f"{value:.6g}"
    return f"{value:,}" if isinstance(value, int | float) else str(value)
