"""The report of a training run: how good, who took part, where the time went, who holds the key.

Made from the run's record (the events as the hub wrote them) and, where somebody had all tables
at hand as in the demo, from a comparison with each organisation alone and with pooled data.
What the record lacks is left out of the page, so that a stopped run has a report as well.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

from fusion.reports.grants import grants_section
from fusion.reports.ledgers import ledgers_section
from fusion.reports.page import (
    facts,
    figure,
    page,
    paragraph,
    section,
    side_by_side,
    table,
    without_namespace,
)
from fusion.reports.privacy import privacy_section
from fusion.reports.queries import queries_section
from fusion.reports.svg import Cell, Series, line_chart, mark_grid, stacked_bars
from fusion.reports.vertical import vertical_section
from fusion.reports.words import Words, same, spans

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    Record = Mapping[str, Any]

PARTS: Final = (
    ("train", Words("training", "训练")),
    ("encrypt", Words("encrypting", "加密")),
    ("wait", Words("waiting", "等待")),
    ("aggregate", Words("aggregating", "聚合")),
    ("decrypt", Words("decrypting", "解密")),
    ("combine", Words("combining", "合并")),
)
_STATUS: Final = {
    "done": (Words("done", "已完成"), "good"),
    "failed": (Words("failed", "失败"), "bad"),
    "stopped": (Words("stopped", "已停止"), "bad"),
}
_ROUND = Words("round", "轮次")


def render(result: Record, *, baselines: Record | None = None, language: str = "en") -> str:
    """Return the report as one HTML file.

    Args:
        result: The run's record.
        baselines: The comparison with each organisation alone and pooled, if there is one.
        language: ``en`` or ``zh``: what is shown first; the page has both.

    Raises:
        ValueError: The language is neither.
    """
    status, kind = _STATUS.get(str(result.get("status", "")), (Words("running", "进行中"), "soft"))
    name = str(result.get("study", ""))
    message = str(result.get("message") or "")
    header = (
        f"<h1>{spans(Words(f'Joint model: {name}', f'联合模型：{name}'))}</h1>"
        f'<p class="{kind}"><strong>{spans(status)}</strong> '
        f'<span class="soft">{spans(same(str(result.get("job", ""))))}</span></p>'
        + (paragraph(same(message)) if message else "")
    )
    body = "".join(
        [
            vertical_section(result),
            "" if result.get("kind") == "vertical" else _quality(result, baselines),
            _curves(result, baselines),
            _attendance(result),
            _time(result),
            _key(result),
            vertical_section(result.get("vertical") or {}),
            privacy_section(result),
            "" if result.get("kind") == "vertical" else _what_left(result),
            queries_section(result),
            grants_section(result.get("all_grants") or []),
            ledgers_section(result),
        ]
    )
    return without_namespace(page(f"Banyan: {name}", language, header, body, _footer()))


def auc_chart(result: Record, baselines: Record | None) -> str:
    """Draw the AUC after each round, with the pooled model and the best one alone beside it."""
    metrics = _metrics(result)
    joint = _by_round(metrics, "auc")
    series = [Series(Words("joint", "联合"), joint)]
    if baselines and joint:
        span = (joint[0][0], joint[-1][0])
        alone = [_real(o.get("auc_alone")) for o in baselines.get("organisations", [])]
        best = max((a for a in alone if math.isfinite(a)), default=math.nan)
        pooled = _real(baselines.get("auc", {}).get("pooled"))
        for words, value in (
            (Words("pooled data", "汇集数据"), pooled),
            (Words("best alone", "单方最佳"), best),
        ):
            level = tuple((x, value) for x in span)
            series.append(Series(words, level, dashed=True, dots=False))
    return line_chart(
        Words("AUC after each round", "每轮之后的 AUC"),
        series,
        x=_ROUND,
        y=same("AUC"),
        whole_x=True,
    )


# ------------------------------------------------------------------------------ sections


def _quality(result: Record, baselines: Record | None) -> str:
    """Return the closing table: alone, joint, pooled."""
    last = _last_metrics(result)
    joint = _real((baselines or {}).get("auc", {}).get("joint", last.get("auc")))
    heads = [
        Words("trained on", "训练数据"),
        Words("rows", "行数"),
        same("AUC"),
        Words("joint model better by", "联合模型提高"),
    ]
    rows: list[list[Words]] = []
    for item in (baselines or {}).get("organisations", []):
        alone = _real(item.get("auc_alone"))
        name = str(item.get("id", ""))
        rows.append(
            [
                Words(f"{name} alone", f"仅 {name}"),
                same(_count(item.get("rows"))),
                same(_four(alone)),
                same(_signed(joint - alone)),
            ]
        )
    strong = len(rows)
    rows.append([Words("all, jointly", "各方联合"), same("–"), same(_four(joint)), same("")])
    if baselines:
        pooled = _real(baselines.get("auc", {}).get("pooled"))
        rows.append(
            [
                Words("all tables pooled (comparison)", "全部汇集（对照）"),
                same("–"),
                same(_four(pooled)),
                same(_signed(joint - pooled)),
            ]
        )
    notes = [table(heads, rows, strong=frozenset({strong}))]
    if baselines and math.isfinite(_real(baselines.get("max_abs_error_vs_plain"))):
        error = f"{_real(baselines['max_abs_error_vs_plain']):.1e}"
        notes.append(
            paragraph(
                Words(
                    f"The encrypted sums differ from sums in the clear by at most {error}.",
                    f"加密求和与明文求和之差至多为 {error}。",
                ),
                "soft",
            )
        )
    return section(Words("How good the model is", "模型效果"), *notes)


def _curves(result: Record, baselines: Record | None) -> str:
    """Return AUC and loss over the rounds, ROC and calibration of the last model."""
    metrics = _metrics(result)
    if not metrics:
        return ""
    last = metrics[-1]
    loss = _by_round(metrics, "loss")
    roc = tuple((_real(p[0]), _real(p[1])) for p in last.get("roc", []))
    calibration = tuple((_real(p[0]), _real(p[1])) for p in last.get("calibration", []))
    unit = (0.0, 1.0)
    diagonal = ((0.0, 0.0), (1.0, 1.0))
    charts = side_by_side(
        figure(Words("AUC", "AUC"), auc_chart(result, baselines)),
        figure(
            Words("Loss", "损失"),
            line_chart(
                Words("Loss after each round", "每轮之后的损失"),
                [Series(Words("log loss", "对数损失"), loss)],
                x=_ROUND,
                y=Words("log loss", "对数损失"),
                whole_x=True,
            ),
        ),
        figure(
            Words("ROC", "ROC 曲线"),
            line_chart(
                Words("ROC of the joint model", "联合模型的 ROC 曲线"),
                [
                    Series(Words("joint", "联合"), roc, dots=False),
                    Series(Words("by chance", "随机"), diagonal, dashed=True, dots=False),
                ],
                x=Words("false positive rate", "假阳性率"),
                y=Words("true positive rate", "真阳性率"),
                x_range=unit,
                y_range=unit,
            ),
        ),
        figure(
            Words("Calibration", "校准"),
            line_chart(
                Words("Calibration of the joint model", "联合模型的校准"),
                [
                    Series(Words("joint", "联合"), calibration),
                    Series(Words("ideal", "理想"), diagonal, dashed=True, dots=False),
                ],
                x=Words("mean score", "平均得分"),
                y=Words("observed rate", "实际比例"),
                x_range=unit,
                y_range=unit,
            ),
        ),
    )
    numbers = ", ".join(f"{k.upper()} {_four(_real(last.get(k)))}" for k in ("auc", "ks", "ece"))
    note = Words(
        f"{numbers}. Measured on every organisation's hold-out rows, from securely summed score "
        "histograms: the hub saw no score and no organisation's curve.",
        f"{numbers}。在各方的留出数据上，由安全求和的得分直方图得出：枢纽看不到任何得分，也看不到任何一方的曲线。",
    )
    return section(Words("Curves", "曲线"), charts, paragraph(note, "soft"))


def _attendance(result: Record) -> str:
    """Return who contributed to which round; who was absent is named, with since when."""
    rounds = _rounds(result)
    if not rounds:
        return ""
    organisations = _organisations(result)
    cells: dict[tuple[str, str], Cell] = {}
    absences: dict[tuple[str, str, str], list[str]] = {}
    for event in rounds:
        number = str(event.get("round"))
        for name in event.get("contributors", []):
            cells[str(name), number] = Cell("yes", Words("contributed", "已参与"))
        for gone in event.get("absent", []):
            name, since = str(gone.get("organisation")), str(gone.get("since", "?"))
            reason = str(gone.get("reason", ""))
            words = Words(f"absent since {since}: {reason}", f"自 {since} 起缺席：{reason}")
            cells[name, number] = Cell("no", words)
            absences.setdefault((name, since, reason), []).append(number)
    columns = [str(event.get("round")) for event in rounds]
    grid = mark_grid(Words("Who answered", "谁参与了"), organisations, columns, cells)
    listed = [
        [same(name), same(since), same(reason), same(", ".join(numbers))]
        for (name, since, reason), numbers in absences.items()
    ]
    heads = [
        Words("absent", "缺席方"),
        Words("since", "自"),
        Words("reason", "原因"),
        Words("rounds", "轮次"),
    ]
    note = Words(
        "Round 0 sums the moments for standardisation; the last one judges the final model.",
        "第 0 轮对标准化所需的矩求和；最后一轮评估最终模型。",
    )
    return section(
        Words("Who took part", "参与情况"),
        figure(Words("Contributions per round", "每轮的参与方"), grid),
        paragraph(note, "soft"),
        table(heads, listed, numbers=False)
        if listed
        else paragraph(Words("Nobody was absent.", "无人缺席。"), "good"),
        _clipped(rounds),
    )


def _clipped(rounds: Sequence[Record]) -> str:
    """Return in which rounds updates went beyond the study's clip, and how far it cut into them."""
    counts = [(event.get("round"), int(_finite(event.get("clipped")))) for event in rounds]
    cut = [(number, count) for number, count in counts if count]
    if not cut:
        words = Words("No update went beyond the study's clip.", "没有更新超出研究设定的截断范围。")
        return paragraph(words, "good")
    english = ", ".join(f"{count:,} in round {number}" for number, count in cut)
    chinese = "，".join(f"第 {number} 轮 {count:,} 个" for number, count in cut)
    return paragraph(
        Words(
            f"Coordinates of updates that were cut to the study's clip, all parties together: "
            f"{english}. Raise `clip` or lower the learning rate if there are many.",
            f"被截断到研究设定范围的更新坐标数（各方合计）：{chinese}。"
            "若数量较多，请提高 clip 或降低学习率。",
        )
    )


def _time(result: Record) -> str:
    """Return where the seconds of each round went, and the sums."""
    rounds = _rounds(result)
    if not rounds:
        return ""
    spent = [event.get("seconds", {}) for event in rounds]
    parts = [(words, [_real(s.get(key)) for s in spent]) for key, words in PARTS]
    chart = stacked_bars(
        Words("Seconds per round", "每轮用时"),
        [str(event.get("round")) for event in rounds],
        parts,
        x=_ROUND,
        y=Words("seconds", "秒"),
    )
    total = sum(_finite(s.get("total")) for s in spent)
    rows = [[words, same(f"{sum(_finite(v) for v in values):.2f}")] for words, values in parts]
    rows.append([Words("all rounds", "全部轮次"), same(f"{total:.2f}")])
    size = sum(int(_finite(event.get("bytes"))) for event in rounds)
    note = Words(
        f"Training and encrypting are those of the slowest party; waiting is for the others and "
        f"the network. {_bytes(size)} travelled, to and from all parties together.",
        f"训练与加密按最慢一方计；等待包括等候其他方与网络传输。各方往返共传输 {_bytes(size)}。",
    )
    return section(
        Words("Where the time went", "时间去向"),
        side_by_side(
            figure(Words("Seconds per round", "每轮用时（秒）"), chart),
            table(
                [Words("part", "部分"), Words("seconds", "秒")],
                rows,
                strong=frozenset({len(rows) - 1}),
            ),
        ),
        paragraph(note, "soft"),
    )


def _key(result: Record) -> str:
    """Return who can decrypt."""
    key = result.get("key") or {}
    if not key:
        return ""
    holders = key.get("holders", [])
    names = [str(h) for h in holders] if isinstance(holders, list | tuple) else []
    count = len(names) if names else holders
    threshold = key.get("threshold")
    pairs = [
        (
            Words("cipher", "密码"),
            Words("Paillier (additively homomorphic)", "Paillier（加法同态）"),
        ),
        (Words("key size", "密钥长度"), Words(f"{key.get('bits')} bits", f"{key.get('bits')} 位")),
        (
            Words("to decrypt", "解密条件"),
            Words(
                f"{threshold} of {count} holders together",
                f"{count} 个持有方中的 {threshold} 个共同参与",
            ),
        ),
    ]
    if names:
        pairs.append((Words("holders", "持有方"), same(", ".join(names))))
    if key.get("fingerprint"):
        pairs.append((Words("fingerprint", "指纹"), same(str(key["fingerprint"]))))
    share = key.get("hub_holds_share")
    if share is not None:
        found = (
            Words("a share was FOUND in its folder", "在其目录中发现了密钥份额")
            if share
            else Words("no share: its folder was searched", "不持有份额：已检查其目录")
        )
        pairs.append((Words("the hub holds", "枢纽持有"), found))
    pairs.extend(_computed_by(result))
    return section(Words("Who can decrypt", "谁能解密"), facts(pairs))


def _computed_by(result: Record) -> list[tuple[Words, Words]]:
    """Return how ciphertexts were blinded, and which engine computed them, where."""
    pairs = []
    randomiser = (result.get("key") or {}).get("randomiser")
    if randomiser:
        pairs.append((Words("randomiser", "随机化方式"), same(str(randomiser))))
    engines = engines_of(result)
    if engines:
        names = "; ".join(f"{name}: {', '.join(whom)}" for name, whom in engines.items())
        pairs.append((Words("computed by", "计算引擎"), same(names)))
    return pairs


def engines_of(result: Record) -> dict[str, list[str]]:
    """Return each Paillier engine that took part, and where it ran."""
    where: dict[str, list[str]] = {}
    places = [("hub", result.get("engine"))]
    places += [(str(e.get("organisation")), e.get("engine")) for e in result.get("setup", [])]
    for place, engine in places:
        if engine:
            where.setdefault(str(engine), []).append(place)
    return where


def _what_left(result: Record) -> str:
    """Return, per organisation, what it sent."""
    rounds = _rounds(result)
    sent = dict.fromkeys(_organisations(result), 0)
    for event in rounds:
        for name in event.get("contributors", []):
            sent[str(name)] = sent.get(str(name), 0) + 1
    heads = [Words("organisation", "机构"), Words("encrypted contributions", "加密贡献次数")]
    note = Words(
        "Each contribution is one vector of ciphertexts with a signed commitment. Key holders also "
        "sent partial decryptions of sums over at least the quorum. In the training of this model, "
        "rows, row counts, means, scores and single updates were not sent in the clear.",
        "每次贡献是一个密文向量及其签名承诺。密钥持有方另外发送了对至少达到法定方数之和的部分解密。"
        "在该模型的训练中，数据行、行数、均值、得分和单方更新均未以明文发出。",
    )
    extra = []
    if math.isfinite(_real(result.get("bytes_per_parameter"))):
        size = f"{_real(result['bytes_per_parameter']):.1f}"
        words = Words(f"{size} bytes per encrypted parameter.", f"每个加密参数 {size} 字节。")
        extra.append(paragraph(words, "soft"))
    return section(
        Words("What left each organisation: encrypted updates", "离开各机构的内容：加密更新"),
        table(heads, [[same(name), same(str(n))] for name, n in sent.items()]),
        paragraph(note),
        *extra,
    )


def _footer() -> str:
    return paragraph(
        Words(
            "Made from the run's own record. One file, no scripts, nothing loaded from elsewhere.",
            "由运行记录生成。单一文件，无脚本，不从别处加载任何内容。",
        )
    )


# ------------------------------------------------------------------------- reading values


def _rounds(result: Record) -> list[Record]:
    return sorted(result.get("rounds", []), key=lambda event: int(event.get("round", 0)))


def _metrics(result: Record) -> list[Record]:
    """Return the newest metrics of each round: a resumed run may have judged a model twice."""
    newest = {int(event.get("round", 0)): event for event in result.get("metrics", [])}
    return [newest[number] for number in sorted(newest)]


def _by_round(metrics: Sequence[Record], key: str) -> tuple[tuple[float, float], ...]:
    """Return a measure after each round of training; the untrained model would set the scale."""
    trained = [m for m in metrics if int(m.get("round", 0)) > 0] or metrics
    return tuple((float(m.get("round", 0)), _real(m.get(key))) for m in trained)


def _last_metrics(result: Record) -> Record:
    metrics = _metrics(result)
    return metrics[-1] if metrics else {}


def _organisations(result: Record) -> list[str]:
    """Return the names, given as text or as objects with an id."""
    found: Sequence[Any] = result.get("organisations", [])
    return [str(item.get("id") if isinstance(item, dict) else item) for item in found]


def _real(value: object) -> float:
    """Return a number, or NaN for whatever is none."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    return math.nan


def _finite(value: object) -> float:
    number = _real(value)
    return number if math.isfinite(number) else 0.0


def _four(value: float) -> str:
    return f"{value:.4f}" if math.isfinite(value) else "–"


def _signed(value: float) -> str:
    return f"{value:+.4f}".replace("-", "−") if math.isfinite(value) else ""


def _count(value: object) -> str:
    return f"{int(_finite(value)):,}" if math.isfinite(_real(value)) else "–"


def _bytes(size: int) -> str:
    if size < 10_000:
        return f"{size} B"
    if size < 10_000_000:
        return f"{size / 1e3:.0f} kB"
    return f"{size / 1e6:.1f} MB"
