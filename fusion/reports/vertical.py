"""The report of a vertical run: how good the joint model is, who took part, how it went.

Made from the run's record, and, where somebody had all tables at hand as in the demo, from what
each party's columns alone would have given.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from fusion.reports.grants import grants_section
from fusion.reports.models import METRICS, leakage_section
from fusion.reports.page import facts, figure, paragraph, section, table
from fusion.reports.svg import Series, line_chart
from fusion.reports.words import Words, same

if TYPE_CHECKING:
    from collections.abc import Mapping

    Record = Mapping[str, Any]

_DASH: Final = same("–")


def vertical_section(record: Record) -> str:
    """Return the sections of a vertical run; nothing of a record that is none.

    Args:
        record: As :func:`federated.records.record` makes it; ``baselines`` may have the same
            measure by party, and ``pooled``, of whoever had all tables; ``grants`` and
            ``leakage`` as :func:`fusion.services.run_basis.basis_of` adds them; ``roles`` what
            parties play, by language.
    """
    if record.get("kind") != "vertical":
        return ""
    label = str(record.get("label_party", ""))
    none = Words(
        f"The leak report is with {label}, which measured it: the verb card of fusion model there.",
        f"泄露评估由 {label} 测得并保存：在该方执行 fusion model card 查看。",
    )
    return "".join(
        (
            _quality(record),
            _course(record),
            leakage_section(record.get("leakage"), none),
            grants_section(record.get("grants") or [], _WHERE if "leakage" in record else None),
            sent_section(record),
        )
    )


_WHERE: Final = Words(
    "Grants from the parties to the operator that are known where this was written.",
    "以上为生成本报告一方所知、由各参与方授予运营方的授权。",
)


def sent_section(record: Record) -> str:
    """Return what each party of a vertical run sent to the others; nothing of another run."""
    sent = (record.get("model_kept") or {}).get("sent") or {}
    if not sent:
        return ""
    heads = [
        Words("organisation", "机构"),
        Words("to align records", "用于对齐记录"),
        Words("to train and judge", "用于训练与评估"),
    ]
    rows = [
        [same(name), *(same(_bytes(each.get(key))) for key in ("aligning", "training"))]
        for name, each in sent.items()
    ]
    note = Words(
        "Bytes of messages to the other parties and to the dealer, in all attempts of the run, as "
        "the parties told the hub: masked identifiers, then encrypted or shared gradients and "
        "sums. Parties saw each other's number of records, and which of their own are common; the "
        "hub saw how many are common, sizes and times, and the measures above.",
        "本次运行的所有尝试中发给其他各方与随机数分发方的消息字节数（按各方向枢纽报告的数值累计）：先是经掩蔽的标识，再是加密或秘密分享的梯度与求和。"
        "各方得知彼此的记录数以及己方哪些记录为共同记录；枢纽得知共同记录数、消息大小与时间，以及上述指标。",
    )
    return section(
        Words(
            "What left each party: records aligned, columns learned from",
            "离开各方的内容：对齐与训练",
        ),
        table(heads, rows),
        paragraph(note),
    )


def _bytes(size: object) -> str:
    if not isinstance(size, int | float):
        return "–"
    return f"{size / 1e3:,.0f} kB" if size < 10_000_000 else f"{size / 1e6:,.1f} MB"


def _quality(record: Record) -> str:
    quality = record.get("quality") or {}
    label = str(record.get("label_party", ""))
    metric = METRICS.get(str(quality.get("metric")), same("AUC"))
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
        (Words("parties", "参与方"), _parties(record)),
        (Words("ordered by", "下达方"), same(str(record.get("operator") or "–"))),
        (Words("purpose", "用途"), same(str(record.get("purpose") or "–"))),
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


def _parties(record: Record) -> Words:
    """Return who took part, and what each plays where that is said."""
    roles = record.get("roles") or {}
    names = [str(each) for each in record.get("organisations", [])]
    english = (f"{n} (as {roles[n]['en']})" if n in roles else n for n in names)
    chinese = (f"{n}（充当{roles[n]['zh']}）" if n in roles else n for n in names)
    return Words(", ".join(english), "、".join(chinese))


def _four(value: object) -> Words:
    return same(f"{value:.4f}") if isinstance(value, int | float) else _DASH


def _gain(best: object, value: object) -> Words:
    if isinstance(best, int | float) and isinstance(value, int | float) and best != value:
        return same(f"{best - value:+.4f}")
    return same("")


def _count(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else "–"
