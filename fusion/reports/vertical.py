"""The report of a vertical run: how good the joint model is, who took part, how it went.

Made from the run's record, and, where somebody had all tables at hand as in the demo, from what
each party's columns alone would have given.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from fusion.reports.page import facts, figure, paragraph, section, table
from fusion.reports.svg import Series, line_chart
from fusion.reports.words import Words, same

if TYPE_CHECKING:
    from collections.abc import Mapping

    Record = Mapping[str, Any]

_METRICS: Final = {
    "auc": same("AUC"),
    "r2": same("R²"),
    "deviance explained": Words("deviance explained", "解释偏差"),
}
_DASH: Final = same("–")


def vertical_section(record: Record) -> str:
    """Return the sections of a vertical run; nothing of a record that is none.

    Args:
        record: As :func:`federated.records.record` makes it; ``baselines`` may have the same
            measure by party, and ``pooled``, of whoever had all tables.
    """
    if record.get("kind") != "vertical":
        return ""
    return "".join((_quality(record), _course(record)))


def _quality(record: Record) -> str:
    quality = record.get("quality") or {}
    label = str(record.get("label_party", ""))
    metric = _METRICS.get(str(quality.get("metric")), same("AUC"))
    joint = quality.get("joint") or {}
    rows = [(Words(f"{label} alone", f"仅 {label}"), quality.get("alone") or {})]
    baselines = record.get("baselines") or {}
    rows += [
        (
            Words(f"columns of {name} alone, with the label", f"仅 {name} 的列（附标签）"),
            found,
        )
        for name, found in baselines.items()
        if name not in {label, "pooled"}
    ]
    rows.append((Words("all columns, jointly", "各方联合"), joint))
    strong = len(rows) - 1
    if "pooled" in baselines:
        rows.append(
            (Words("all columns pooled (comparison)", "全部汇集（对照）"), baselines["pooled"])
        )
    heads = [
        Words("learned from", "学习所用"),
        Words("train", "训练集"),
        Words("test", "测试集"),
        Words("joint model better by", "联合模型提高"),
    ]
    best = joint.get("test")
    cells = [
        [words, _four(found.get("train")), _four(found.get("test")), _gain(best, found.get("test"))]
        for words, found in rows
    ]
    common = record.get("rows") or {}
    note = Words(
        f"{metric.en}, on {_count(common.get('judging'))} of the common records that no model was "
        "trained on. No column left its owner.",
        f"{metric.zh}，在 {_count(common.get('judging'))} 条未参与训练的共同记录上得出。"
        "任何列都未离开其所有者。",
    )
    return section(
        Words("The same people, different columns", "同一人群，不同列"),
        table(heads, cells, strong=frozenset({strong})),
        paragraph(note, "soft"),
    )


def _course(record: Record) -> str:
    common, steps = record.get("rows") or {}, record.get("steps_done") or []
    kept = record.get("model_kept") or {}
    told = [
        (Words("parties", "参与方"), same(", ".join(map(str, record.get("organisations", []))))),
        (
            Words("model", "模型"),
            same(", ".join(str(record.get(key)) for key in ("model", "backend", "steps", "unit"))),
        ),
        (
            Words("common records", "共同记录"),
            Words(
                f"{_count(common.get('training'))} train, {_count(common.get('judging'))} judge",
                f"{_count(common.get('training'))} 条训练，{_count(common.get('judging'))} 条评估",
            ),
        ),
        (Words("attempts", "尝试次数"), same(str(len(record.get("attempts") or [])))),
        (
            Words("kept as", "保存为"),
            same(f"{kept.get('name', '–')} {str(kept.get('model', ''))[:16]}"),
        ),
    ]
    points = tuple((float(each["step"]), float(each["bytes"]) / 1e6) for each in steps)
    drawing = ""
    if len(points) > 1:
        title = Words("MB between parties, after each step", "各步之后各方之间的流量（MB）")
        chart = line_chart(
            title,
            [Series(same("MB"), points)],
            x=Words("step", "步"),
            y=same("MB"),
            whole_x=True,
        )
        drawing = figure(title, chart)
    return section(Words("How it went", "过程"), facts(told), drawing)


def _four(value: object) -> Words:
    return same(f"{value:.4f}") if isinstance(value, int | float) else _DASH


def _gain(best: object, value: object) -> Words:
    if isinstance(best, int | float) and isinstance(value, int | float) and best != value:
        return same(f"{best - value:+.4f}")
    return same("")


def _count(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else "–"
