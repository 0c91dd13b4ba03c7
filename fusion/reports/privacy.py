"""What a private run promises to each row, as a section of its report and as words."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

from fusion.reports.page import facts, paragraph, section
from fusion.reports.words import Words, same

if TYPE_CHECKING:
    from collections.abc import Mapping


def micro(value: int) -> str:
    """Return millionths as a number without trailing zeros."""
    return f"{(Decimal(value) / 1_000_000).normalize():f}"


def privacy_section(result: Mapping[str, Any]) -> str:
    """Return epsilon asked for and spent, delta and noise; nothing for a run without."""
    privacy = result.get("privacy")
    if not privacy:
        return ""
    organisations = len(result.get("organisations", []))
    sharers = int(result.get("quorum", 0)) - int(privacy["colluders"])
    pairs = [
        (
            Words("epsilon of the run", "本次运行的 ε"),
            same(micro(int(privacy["epsilon_micro"]))),
        ),
        (
            Words("spent by the sums that were opened", "已解密之和所消耗"),
            same(micro(int(privacy.get("spent_micro", 0)))),
        ),
        (same("delta"), same(f"{float(privacy['delta']):g}")),
        (
            Words("protected", "保护单位"),
            Words("each row, added or removed", "每一行（增加或删除）"),
        ),
        (
            Words("longest gradient of a row", "单行梯度的最大范数"),
            same(f"{float(privacy['clip_norm']):g}"),
        ),
        (
            Words("noise in each training sum", "每次训练求和中的噪声"),
            Words(
                f"at least {float(privacy['noise_multiplier']):.3g} times that, from any {sharers} "
                f"of {organisations} organisations",
                f"至少为其 {float(privacy['noise_multiplier']):.3g} 倍，"
                f"由 {organisations} 家机构中任意 {sharers} 家即可达到",
            ),
        ),
    ]
    note = Words(
        "Each organisation added its share of discrete Gaussian noise before it encrypted; no sum "
        "without noise existed anywhere. Scores and curves are of the noisy hold-out counts.",
        "各机构在加密之前已加入各自份额的离散高斯噪声；任何地方都不存在无噪声的总和。得分与曲线均来自加噪的留出集计数。",
    )
    return section(Words("Differential privacy", "差分隐私"), facts(pairs), paragraph(note, "soft"))
