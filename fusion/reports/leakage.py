"""A leak report for people: lines for a terminal, a section for a model's card, a page of its own.

Drawn are the guesses of labels, tree by tree, and the smallest leaves. The words say what each
number is; what it does not bound is on ``docs/claims/leakage.md``.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

from fusion.reports import page as frame
from fusion.reports.page import facts, figure, paragraph, section, side_by_side, table
from fusion.reports.svg import Series, line_chart
from fusion.reports.words import Words, same, spans

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    Report = Mapping[str, Any]

_TITLE: Final = Words("What the model tells", "模型泄露评估")
_PAGE: Final = Words("Leak report of a joint model", "联合模型泄露报告")
_CODES: Final = {
    "L-01": Words("members are told", "可识别训练成员"),
    "L-02": Words("labels leak", "标签泄露"),
    "L-03": Words("a weight of few rows", "权重基于的行数过少"),
    "L-04": Words("not measured", "未能评估"),
}
_ATTACKS: Final = {
    "mean-loss": Words("loss against the mean of training", "损失与训练均值比较"),
    "tuned": Words("loss against a tuned threshold", "损失与调优阈值比较"),
    "tuned-by-class": Words("a tuned threshold for each class", "按类别调优的阈值"),
}
_LIMITS: Final = {
    "membership_permille": Words(
        "Promised: who was trained on is told with an advantage of at most {} per mille.",
        "承诺：识别训练成员的优势至多为千分之 {}。",
    ),
    "label_leak_permille": Words(
        "Promised: training tells a party at most {} per mille of labels.",
        "承诺：训练向一方泄露的标签至多为千分之 {}。",
    ),
    "smallest_leaf": Words(
        "Promised: a weight rests on at least {} rows.", "承诺：每个权重至少基于 {} 行。"
    ),
}
_BASES: Final = {
    "columns": Words("its columns", "自有列"),
    "none": Words("nothing: chance", "无（随机猜测）"),
}
_SEES: Final = {
    "partition": Words("row partitions", "行的划分"),
    "gradients": Words("gradients", "梯度"),
    "weights": Words("weights of its columns", "自有列的权重"),
}


def lines(told: Report) -> list[str]:
    """Return a report and its verdict in a few lines.

    Args:
        told: ``report`` and ``verdict``.
    """
    report, verdict = told["report"], told["verdict"]
    found = []
    members = report["membership"]
    if members is None:
        found.append("members told: not measured, no rows were held out")
    else:
        worst = _worst(members)
        found.append(
            f"members told: advantage {_three(worst)} ({_bounds(worst)}), "
            f"AUC {_three(members['auc'])}"
        )
    if not report["labels"]:
        found.append("labels guessed: not measured, too few rows of a class")
    for each in report["labels"]:
        last = each["guesses"][-1]
        outside = f", {_three(last['held_out'])} of rows held out" if last["held_out"] else ""
        found.append(
            f"labels guessed by {each['party']}: AUC {_three(last['auc'])}{outside}; "
            f"{_three(each['alone'])} without what training shows"
        )
    leaves = report["leaves"]
    if leaves is not None:
        found.append(
            f"leaves: smallest {leaves['smallest']}, {leaves['small']} below {leaves['k']} rows, "
            f"{leaves['pure']} of one label ({leaves['pure_rows']} rows)"
        )
    found += [
        f"weights of {each['party']}: each rests on {each['smallest']} rows or more"
        for each in report["weights"]
    ]
    if report["rows_told"]:
        found.append(f"the label party was told the others' scores of {report['rows_told']} rows")
    if any(value is not None for value in verdict["limits"].values()):
        found.append("within the limits" if verdict["released"] else "beyond the limits:")
    found += [
        f"  {each['code']}: {each['found']}; {each['limit']} is {each['is']}"
        for each in verdict["exceeded"]
    ]
    return found


def limit_words(verdict: Report) -> list[Words]:
    """Return what was promised, words for each limit; none where nothing was."""
    return [
        Words(_LIMITS[name].en.format(value), _LIMITS[name].zh.format(value))
        for name, value in verdict["limits"].items()
        if value is not None
    ]


def leak_section(report: Report, verdict: Report) -> str:
    """Return the section of a model's card.

    Args:
        report: A leak report's document.
        verdict: What it was held to, as :func:`fusion.grants.leakage.verdict` says it.
    """
    drawings = [_labels(report)] if report["labels"] else []
    if report["leaves"] is not None:
        drawings.append(_leaf_chart(report["leaves"]))
    return section(
        _TITLE,
        *(paragraph(words) for words in limit_words(verdict)),
        _verdict(verdict),
        side_by_side(*drawings),
        _members(report),
        _guesses(report),
        facts(_counts(report)),
        paragraph(
            Words(
                "Attacks that were carried out, with bounds at 95 %: another attack can be better. "
                "Measured by the label party, before release.",
                "以上为实际实施的攻击（95 % 置信区间）；其他攻击可能更强。由标签方在发布前测得。",
            ),
            "soft",
        ),
    )


def page(report: Report, verdict: Report, language: str = "en") -> str:
    """Return a report as a page of its own."""
    title = _PAGE.zh if language == "zh" else _PAGE.en
    header = f"<h1>{spans(_PAGE)}</h1>"
    about = Words(
        f"{report['model']}, gradients by {report['backend']}",
        f"{report['model']}，梯度保护方式 {report['backend']}",
    )
    body = frame.without_namespace(leak_section(report, verdict))
    return frame.page(title, language, header + paragraph(about, "soft"), body, "")


# ------------------------------------------------------------------------------- parts


def _verdict(verdict: Report) -> str:
    if all(value is None for value in verdict["limits"].values()):
        words = Words("Nothing was promised; nothing is withheld.", "未作承诺，故无扣留。")
        return paragraph(words, "soft")
    if verdict["released"]:
        return paragraph(Words("Every limit is kept.", "所有限值均已满足。"), "good")
    rows = [
        [_reason(e["code"]), same(f"{e['limit']} = {e['is']}"), same(e["found"]), _passes(e)]
        for e in verdict["exceeded"]
    ]
    heads = [
        Words("code", "代码"),
        Words("limit", "限值"),
        Words("found", "实测"),
        Words("would pass", "可通过的值"),
    ]
    return paragraph(
        Words("Withheld: limits are not kept.", "已扣留：未满足限值。"), "bad"
    ) + table(heads, rows, numbers=False)


def _reason(code: str) -> Words:
    words = _CODES[code]
    return Words(f"{code}: {words.en}", f"{code}：{words.zh}")


def _passes(exceeded: Report) -> Words:
    return same("–" if exceeded["passes"] is None else str(exceeded["passes"]))


def _labels(report: Report) -> str:
    """Draw how well each party guesses labels, tree by tree."""
    series = []
    for each in report["labels"]:
        points = [(float(g["trees"]), g["auc"]["value_micro"] / 1e6) for g in each["guesses"]]
        start = (0.0, each["alone"]["value_micro"] / 1e6)
        points = points if points[0][0] == 0 else [start, *points]
        series.append(Series(same(each["party"]), tuple(points)))
    title = Words("Labels guessed by each party", "各方对标签的猜测")
    chart = line_chart(
        title, series, x=Words("trees", "树"), y=same("AUC"), y_range=(0.5, 1.0), whole_x=True
    )
    return figure(title, chart)


def _leaf_chart(leaves: Report) -> str:
    """Draw the smallest leaf of each tree."""
    sizes = [float(tree["smallest"]) for tree in leaves["trees"]]
    points = tuple((float(number), size) for number, size in enumerate(sizes, start=1))
    least = tuple((float(number), float(leaves["k"])) for number in (1, max(2, len(sizes))))
    title = Words("Smallest leaf of each tree", "每棵树的最小叶")
    chart = line_chart(
        title,
        [
            Series(Words("rows", "行数"), points),
            Series(Words("small below", "小叶界限"), least, dashed=True, dots=False),
        ],
        x=Words("tree", "树"),
        y=Words("rows", "行"),
        y_range=(0.0, max([*sizes, float(leaves["k"])]) * 1.1),
        whole_x=True,
    )
    return figure(title, chart)


def _members(report: Report) -> str:
    members = report["membership"]
    if members is None:
        words = Words(
            "Membership was not measured: no rows were held out.", "未评估成员推断：无留出数据。"
        )
        return paragraph(words, "bad")
    rows = [
        [_ATTACKS[each["name"]], same(_three(each["advantage"])), same(_bounds(each["advantage"]))]
        for each in members["attacks"]
    ]
    rows.append([Words("AUC of a small loss", "小损失的 AUC"), *_cells(members["auc"])])
    rows += [
        [
            Words(
                f"members told at {each['false_positives_micro'] / 1e4:g} % false alarms",
                f"误报率 {each['false_positives_micro'] / 1e4:g} % 时识别的成员",
            ),
            *_cells(each["true_positives"]),
        ]
        for each in members["caught"]
    ]
    heads = [
        Words("who was trained on: attack", "成员推断：攻击"),
        Words("advantage", "优势"),
        Words("bounds", "区间"),
    ]
    return table(heads, rows)


def _guesses(report: Report) -> str:
    if not report["labels"]:
        words = Words(
            "Guesses of labels were not measured: too few rows of a class.",
            "未评估标签泄露：某一类别的行数过少。",
        )
        return paragraph(words, "bad")
    rows = []
    for each in report["labels"]:
        last = each["guesses"][-1]
        sees, base = _SEES[each["sees"]], _BASES[each["baseline"]]
        rows.append(
            [
                Words(f"{each['party']}, from {sees.en}", f"{each['party']}（{sees.zh}）"),
                same(_three(each["alone"])),
                same(_three(last["auc"])),
                same(f"{_three(last['gain'])} ({_bounds(last['gain'])})"),
                same(_three(last["held_out"]) if last["held_out"] else "–"),
                base,
            ]
        )
    heads = [
        Words("labels: who guesses", "标签：猜测方"),
        Words("without", "无训练信息"),
        Words("with", "有训练信息"),
        Words("gain", "增益"),
        Words("of rows held out", "留出数据"),
        Words("'without' is from", "基准来自"),
    ]
    return table(heads, rows)


def _counts(report: Report) -> list[tuple[Words, Words]]:
    pairs = [
        (Words("rows trained on", "训练行数"), same(f"{report['rows_training']:,}")),
        (Words("rows held out", "留出行数"), same(f"{report['rows_held_out']:,}")),
    ]
    if report["rows_told"]:
        words = Words(
            "rows whose scores the label party was told, the others' in sum, to measure this",
            "为此评估，标签方获知其他各方得分之和的行数",
        )
        pairs.append((words, same(f"{report['rows_told']:,}")))
    leaves = report["leaves"]
    if leaves is not None:
        k = leaves["k"]
        pairs += [
            (Words(f"leaves below {k} rows", f"少于 {k} 行的叶"), same(f"{leaves['small']:,}")),
            (Words("rows in one of them", "其中的行"), same(f"{leaves['small_rows']:,}")),
            (Words("leaves of one label", "单一标签的叶"), same(f"{leaves['pure']:,}")),
            (Words("rows in one of them", "其中的行"), same(f"{leaves['pure_rows']:,}")),
            (Words("rows alone in a leaf", "独占一叶的行"), same(f"{leaves['singletons']:,}")),
            (
                Words("rows that no other follows through all trees", "在所有树中路径唯一的行"),
                same(f"{leaves['told_apart']:,}"),
            ),
        ]
    pairs += [
        (
            Words(f"fewest rows of a weight of {each['party']}", f"{each['party']} 权重的最少行数"),
            same(f"{each['smallest']:,}"),
        )
        for each in report["weights"]
    ]
    return pairs


def _worst(members: Report) -> Report:
    found: Sequence[Report] = [each["advantage"] for each in members["attacks"]]
    return max(found, key=lambda each: int(each["high_micro"]))


def _cells(measure: Report) -> list[Words]:
    return [same(_three(measure)), same(_bounds(measure))]


def _three(measure: Report) -> str:
    value = measure["value_micro"] / 1e6
    return f"{value:.3f}" if math.isfinite(value) else "–"


def _bounds(measure: Report) -> str:
    return f"{measure['low_micro'] / 1e6:.3f} to {measure['high_micro'] / 1e6:.3f}"
