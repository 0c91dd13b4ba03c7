"""A model's card on one page; what it says comes from the holder's own node."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from fusion.reports.leakage import leak_section
from fusion.reports.page import facts, page, paragraph, section, table, without_namespace
from fusion.reports.words import Words, escape, same, spans

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

TITLE: Final = Words("Model card", "模型卡")
METRICS: Final = {
    "auc": same("AUC"),
    "r2": same("R²"),
    "deviance explained": Words("deviance explained", "解释偏差"),
}
"""Measures of vertical runs."""
_KINDS: Final = {
    "boosting": Words("boosted trees", "提升树"),
    "logistic": Words("logistic model", "逻辑回归"),
    "linear": Words("linear model", "线性回归"),
    "poisson": Words("Poisson model", "泊松回归"),
    "scorecard": Words("scorecard", "评分卡"),
}
_ROLES: Final = {
    "label": Words("holds the label's part", "持有标签方部分"),
    "feature": Words("holds a feature part", "持有特征方部分"),
}
_STANDING: Final = {
    "kept": Words("kept", "在用"),
    "revoked": Words("revoked", "已撤销"),
}
_DIGITS: Final = 16
_MAX_ROWS: Final = 200


def model_page(card: Mapping[str, Any], language: str = "en") -> str:
    """Return the page as one HTML file.

    Args:
        card: As :func:`fusion.services.model_card.card` returns it.
        language: ``en`` or ``zh``: what is shown first.
    """
    seen = Words(
        f"as {card['holder']} knows it, {card['at']}", f"{card['holder']} 所知，{card['at']}"
    )
    title = Words(f"Model card: {card['name']}", f"模型卡：{card['name']}")
    header = f'<h1>{spans(title)}</h1><p class="soft">{spans(seen)}</p>'
    body = [
        section(Words("The model", "模型"), facts(_model(card))),
        section(Words("Data", "数据"), facts(_data(card)), paragraph(_NOTE, "soft")),
        section(Words("Who holds a part", "各方持有"), _holders(card)),
        section(Words("Grants", "授权"), _grants(card)),
        section(Words("Metrics", "指标"), _metrics(card["metrics"])),
        *_points(card),
        leakage_section(card["leakage"]),
        section(Words("Scored so far", "已评分"), _scored(card)),
        section(Words("Versions", "版本"), _versions(card)),
    ]
    return page(title.en, language, header, "".join(body), escape("Banyan · 融数"))


_NOTE: Final = Words(
    "Columns are this holder's own. Those of the other holders are not known here: a part says "
    "nothing of another's table.",
    "此处只列本方字段；其他各方的字段在此未知。",
)
_NO_METRICS: Final = Words("No metrics are known here.", "本方未记录指标。")
_NO_LEAKAGE: Final = Words("There is no leak report.", "没有泄露评估报告。")


def _model(card: Mapping[str, Any]) -> Iterator[tuple[Words, Words]]:
    yield Words("model", "模型"), same(card["model"])
    yield Words("kind", "类型"), _KINDS[card["kind"]]
    yield Words("this holder", "本方"), _ROLES[card["role"]]
    yield Words("standing", "状态"), _STANDING[card["standing"]]
    if card["revocation"]:
        said = card["revocation"]
        yield Words("revoked", "撤销"), same(f"{said['at']}: {said['reason']}")
    for each in card.get("heard_revoked", ()):
        who, at = each["organisation"], each["heard"]
        yield Words("revoked", "撤销"), Words(f"by {who}, heard from it {at}", f"{who}，{at} 得知")
    yield Words("made", "生成时间"), same(card["made"])
    yield Words("purpose", "用途"), same(card["purpose"] or "–")
    yield Words("operator", "运营方"), same(card["operator"] or "–")
    yield Words("study", "研究"), same(card["study"])
    yield Words("run", "任务"), same(card["job"])


def _data(card: Mapping[str, Any]) -> Iterator[tuple[Words, Words]]:
    data, own = card["data"], card["data"]["own"]
    yield Words("dataset", "数据集"), same(f"{card['holder']}/{own['dataset']}")
    yield Words("identifier", "标识"), same(f"{own['identifier']} ({data['identifier']['kind']})")
    yield Words("columns", "字段"), same(", ".join(own["columns"]) or "–")
    if own["label"]:
        yield Words("label", "标签"), same(own["label"])
    yield Words("aligned records", "对齐记录"), same(f"{data['rows_aligned']:,}")
    yield Words("trained on", "训练记录"), same(f"{data['rows_training']:,}")
    yield Words("trees or epochs", "树数或轮数"), same(f"{data['steps']:,}")


def _holders(card: Mapping[str, Any]) -> str:
    heads = [Words("organisation", "机构"), Words("part", "部分"), Words("digest", "摘要")]
    rows = [
        [same(each["organisation"]), _ROLES[each["role"]], same(each["part"][:_DIGITS])]
        for each in card["holders"]
    ]
    return table(heads, rows, numbers=False)


def _grants(card: Mapping[str, Any]) -> str:
    if not card["grants"]:
        return paragraph(Words("No grant is known here.", "本方未知任何授权。"))
    heads = [
        Words("grant", "授权"),
        Words("for", "用于"),
        Words("from", "授权方"),
        Words("to", "被授权方"),
        Words("standing", "状态"),
        Words("until", "有效期至"),
        Words("scores: used of rows", "评分：已用记录"),
    ]
    rows = [
        [
            same(each["id"][:_DIGITS]),
            same(", ".join(each.get("for", ())) or "–"),
            same(", ".join(each.get("from", ())) or "–"),
            same(each.get("to", "–")),
            same(each["standing"]),
            same(each.get("not_after", "–")),
            same(_used(each)),
        ]
        for each in card["grants"]
    ]
    return table(heads, rows, numbers=False)


def _used(grant: Mapping[str, Any]) -> str:
    score, used = grant.get("score"), grant.get("score_used")
    if score is None:
        return "–"
    return f"{'?' if used is None else used['rows']} / {score['rows']}"


def _points(card: Mapping[str, Any]) -> Iterator[str]:
    """Yield the section of a scorecard's own points."""
    if not card["points"]:
        return
    heads = [Words("column", "字段"), Words("values", "取值"), Words("points", "分值")]
    rows = [
        [same(each["column"]), same(some["values"]), same(f"{some['points']:.1f}")]
        for each in card["points"]
        for some in each["bins"]
    ]
    note = Words(
        "Points of this holder's own columns; the base is everybody's.", "仅列本方字段的分值。"
    )
    yield section(
        Words("Points", "评分卡"),
        paragraph(note, "soft"),
        table(heads, rows[:_MAX_ROWS], numbers=False),
    )


def quality_rows(metrics: Mapping[str, Any]) -> list[tuple[Words, str, str]]:
    """Return who made a model, and its measure on rows that trained and that judged.

    Args:
        metrics: Of a vertical run; of other forms there are no rows.
    """
    metric = METRICS.get(str(metrics.get("metric")))
    if metric is None:
        return []
    whose = (
        ("joint", Words(f"{metric.en} of the joint model", f"联合模型的 {metric.zh}")),
        ("alone", Words(f"{metric.en} of the label party alone", f"仅标签方的 {metric.zh}")),
    )
    measured = [(words, metrics.get(name) or {}) for name, words in whose]
    return [(words, _four(of.get("train")), _four(of.get("test"))) for words, of in measured]


def _four(value: object) -> str:
    return f"{value:.4f}" if isinstance(value, int | float) else "–"


def _metrics(metrics: Mapping[str, Any]) -> str:
    rows = quality_rows(metrics)
    if not rows:
        return _measures(metrics, _NO_METRICS)
    heads = [
        Words("measure", "项"),
        Words("rows that trained", "训练数据"),
        Words("rows that judged", "评估数据"),
    ]
    return table(heads, [[words, same(train), same(test)] for words, train, test in rows])


def leakage_section(told: Mapping[str, Any] | None, none: Words | None = None) -> str:
    """Return a leak report as a section.

    Args:
        told: ``report`` and ``verdict``; None where there is none.
        none: What is said then.
    """
    if told and {"report", "verdict"} <= set(told):
        return without_namespace(leak_section(told["report"], told["verdict"]))
    return section(Words("Leakage", "泄露评估"), _measures(told or {}, none or _NO_LEAKAGE))


def _measures(found: Mapping[str, Any], none: Words) -> str:
    """Return numbers and texts of a document of any form, a row each, by their path."""
    rows = [[same(path), same(text)] for path, text in _flat("", found)][:_MAX_ROWS]
    if not rows:
        return paragraph(none)
    return table([Words("measure", "项"), Words("value", "值")], rows, numbers=False)


def _flat(path: str, value: object) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for name in value:
            yield from _flat(f"{path}.{name}" if path else str(name), value[name])
    elif isinstance(value, list | tuple):
        for at, each in enumerate(value):
            yield from _flat(f"{path}.{at}", each)
    elif isinstance(value, float):
        yield path, f"{value:.4g}"
    else:
        yield path, "–" if value is None else str(value)


def _scored(card: Mapping[str, Any]) -> str:
    if not card["scored"]:
        return paragraph(Words("Nothing was scored yet.", "尚未评分。"))
    heads = [Words("for", "对象"), Words("calls", "次数"), Words("records", "记录数")]
    rows = [
        [same(each["organisation"]), same(f"{each['calls']:,}"), same(f"{each['records']:,}")]
        for each in card["scored"]
    ]
    return table(heads, rows)


def _versions(card: Mapping[str, Any]) -> str:
    heads = [
        Words("version", "版本"),
        Words("model", "模型"),
        Words("made", "生成时间"),
        Words("standing", "状态"),
    ]
    rows = [
        [
            same(str(each["version"])),
            same(each["model"][:_DIGITS]),
            same(each["made"]),
            _STANDING[each["standing"]],
        ]
        for each in card["versions"]
    ]
    return table(heads, rows, numbers=False)
