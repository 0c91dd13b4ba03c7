"""The frame of a report: one HTML file without scripts, fonts, pictures or any other host.

Language is chosen by two radio buttons and a style sheet; colours follow the reader's system.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from fusion.reports.svg import NAMESPACE
from fusion.reports.words import Words, escape, spans

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

LANGUAGES: Final = ("en", "zh")

_LIGHT: Final = (
    "--paper:#fdfdfc;--ink:#1d2327;--soft:#5b6570;--rule:#d9dde1;--tint:#f1f4f6;"
    "--c0:#0b5cad;--c1:#b34700;--c2:#00735c;--c3:#a0307a;--c4:#7a6000;--c5:#5a5fc7;--c6:#5b6570;"
    "--good:#00735c;--bad:#b3261e;"
    "--l0:#00735c;--l1:#4c7a00;--l2:#8a6d00;--l3:#b34700;--l4:#b3261e;--l5:#6a1b9a"
)
_DARK: Final = (
    "--paper:#14181b;--ink:#e6e9ec;--soft:#a3adb6;--rule:#353c42;--tint:#1d2328;"
    "--c0:#6db3f8;--c1:#f39a5b;--c2:#4cc7a8;--c3:#e58ac4;--c4:#d9bd4a;--c5:#a5a9f5;--c6:#a3adb6;"
    "--good:#4cc7a8;--bad:#ff8a80;"
    "--l0:#4cc7a8;--l1:#a5cc55;--l2:#d9bd4a;--l3:#f39a5b;--l4:#ff8a80;--l5:#d9a0f0"
)
_DRAWING: Final = "".join(
    [
        "svg{max-width:100%;height:auto}",
        'svg text{font:11px system-ui,"Noto Sans CJK SC","Microsoft YaHei",sans-serif;',
        "fill:var(--soft)}svg .label{fill:var(--ink)}",
        ".axis{fill:none;stroke:var(--soft)}.grid{stroke:var(--rule)}",
        ".line{fill:none;stroke-width:2;stroke-linejoin:round}.dashed{stroke-dasharray:5 4}",
        *(f".s{i}{{stroke:var(--c{i})}}.f{i}{{fill:var(--c{i})}}" for i in range(7)),
        ".mark-yes{fill:var(--good)}.mark-no{fill:none;stroke:var(--bad);stroke-width:2.4}",
        ".mark-none{fill:none;stroke:var(--soft);stroke-width:2}",
        # The entity graph: owners, cards of datasets, levels (l0 general 1 to l5 core), entities.
        ".panel{fill:var(--tint);stroke:var(--rule)}.card{fill:var(--paper);stroke:var(--rule)}",
        *(f".l{i}{{fill:var(--l{i})}}" for i in range(6)),
        "svg .name{fill:var(--ink);font-size:13px;font-weight:650}svg .big{font-size:14px}",
        ".hang{fill:none;stroke-width:2.2;stroke-opacity:.8}.hang:hover{stroke-width:4.5}",
        ".alone{stroke-dasharray:2 5;stroke-linecap:round}",
        ".grant{fill:none;stroke:var(--soft);stroke-width:1.4;stroke-dasharray:6 4}",
        ".ring{fill:var(--paper);stroke-width:2.2}.sign{fill:none;stroke-width:1.8;",
        "stroke-linecap:round;stroke-linejoin:round}",
    ]
)
# The buttons stand before what they switch: siblings are all that a style sheet can reach.
_PAGE: Final = """
*{box-sizing:border-box}
body{max-width:1180px;margin:0 auto;padding:0 1.2rem;background:var(--paper);color:var(--ink);
font:16px/1.55 system-ui,"Noto Sans CJK SC","Microsoft YaHei","PingFang SC",sans-serif}
h1{font-size:1.6rem;margin:.6rem 0 .2rem}h2{font-size:1.15rem;margin:2rem 0 .5rem}
p{max-width:72ch;margin:.4rem 0}
.soft{color:var(--soft)}.good{color:var(--good)}.bad{color:var(--bad)}
.wide{display:grid;gap:1.2rem;
grid-template-columns:repeat(auto-fit,minmax(min(100%,460px),1fr))}
figure{margin:0;overflow-x:auto}figcaption{font-weight:600;margin-bottom:.2rem}
table{border-collapse:collapse;font-variant-numeric:tabular-nums}.scroll{overflow-x:auto}.scroll>svg{max-width:none}
th,td{padding:.3rem .9rem .3rem 0;border-bottom:1px solid var(--rule);text-align:left}
td.n,th.n{text-align:right}tr.strong td,tr.strong th{font-weight:650}
tbody th{font-weight:inherit}
dl{display:grid;grid-template-columns:max-content 1fr;gap:.2rem 1.2rem;margin:.4rem 0}
dt{color:var(--soft)}dd{margin:0;overflow-wrap:anywhere}
pre{background:var(--tint);border-radius:8px;padding:.6rem 1rem;margin:1.1rem 0 .5rem;
overflow-x:auto;font:.92rem/1.5 ui-monospace,Menlo,Consolas,monospace}
mark{background:none;color:var(--bad);text-decoration:underline wavy;text-underline-offset:3px}
.box{background:var(--tint);border-radius:8px;padding:.7rem 1rem}
footer{margin:2.5rem 0 1.5rem;color:var(--soft);font-size:.88rem}
input[name=language]{accent-color:var(--c0);margin-left:0}
.choose{display:inline-block;margin:.8rem 1rem .2rem .2rem}
#en:checked~* [lang=zh],#zh:checked~* [lang=en]{display:none}
@media print{.choose,input[name=language]{display:none}figure{break-inside:avoid}}
"""


def page(title: str, language: str, header: str, body: str, footer: str) -> str:
    """Return the whole file.

    Args:
        title: Plain text, for the window.
        language: ``en`` or ``zh``: what is shown first.
        header: Markup above the sections.
        body: Markup of the sections.
        footer: Markup below.

    Raises:
        ValueError: The language is neither.
    """
    if language not in LANGUAGES:
        message = f"a report is in one of {', '.join(LANGUAGES)}"
        raise ValueError(message)
    tongue = {"en": "en", "zh": "zh-CN"}[language]
    policy = "default-src 'none'; style-src 'unsafe-inline'"
    dark = f"@media (prefers-color-scheme:dark){{:root{{{_DARK}}}}}"
    return "\n".join(
        [
            "<!DOCTYPE html>",
            f'<html lang="{tongue}">',
            "<head>",
            '<meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<meta name="color-scheme" content="light dark">',
            f"<title>{escape(title)}</title>",
            f"<style>:root{{{_LIGHT}}}{dark}{_DRAWING}{_PAGE}</style>",
            "</head>",
            "<body>",
            _choice("en", "English", checked=language == "en"),
            _choice("zh", "中文", checked=language == "zh"),
            f"<header>{header}</header>",
            f"<main>{body}</main>",
            f"<footer>{footer}</footer>",
            "</body>",
            "</html>",
            "",
        ]
    )


def standalone(drawing: str, language: str = "en") -> str:
    """Return a drawing as a file of its own, with its colours, in one language."""
    hidden = next(other for other in LANGUAGES if other != language)
    style = (
        f"<style>svg{{{_LIGHT};background:var(--paper)}}"
        f"@media (prefers-color-scheme:dark){{svg{{{_DARK}}}}}"
        f"{_DRAWING}[lang={hidden}]{{display:none}}</style>"
    )
    head, mark, rest = drawing.partition("</desc>")
    return f"{head}{mark}{style}{rest}\n"


def section(title: Words, *content: str) -> str:
    """Return a section with its heading."""
    return f"<section><h2>{spans(title)}</h2>{''.join(content)}</section>"


def paragraph(words: Words, kind: str = "") -> str:
    """Return a paragraph, with a class when ``kind`` is given."""
    mark = f' class="{escape(kind)}"' if kind else ""
    return f"<p{mark}>{spans(words)}</p>"


def figure(title: Words, drawing: str) -> str:
    """Return a drawing with its caption."""
    return f"<figure><figcaption>{spans(title)}</figcaption>{drawing}</figure>"


def side_by_side(*figures: str) -> str:
    """Return figures in as many columns as fit."""
    return f'<div class="wide">{"".join(figures)}</div>'


def table(
    heads: Sequence[Words],
    rows: Iterable[Sequence[Words]],
    *,
    strong: frozenset[int] = frozenset(),
    numbers: bool = True,
) -> str:
    """Return a table; the first column names the row.

    Args:
        heads: Column titles.
        rows: Cells.
        strong: Numbers of rows to stress, from 0.
        numbers: Whether the other columns are numbers, which are right-aligned.
    """
    right = ' class="n"' if numbers else ""
    top = "".join(
        f'<th scope="col"{"" if i == 0 else right}>{spans(head)}</th>'
        for i, head in enumerate(heads)
    )
    lines = []
    for index, row in enumerate(rows):
        mark = ' class="strong"' if index in strong else ""
        cells = "".join(f"<td{right}>{spans(cell)}</td>" for cell in row[1:])
        lines.append(f'<tr{mark}><th scope="row">{spans(row[0])}</th>{cells}</tr>')
    return (
        f'<div class="scroll"><table><thead><tr>{top}</tr></thead>'
        f"<tbody>{''.join(lines)}</tbody></table></div>"
    )


def facts(pairs: Iterable[tuple[Words, Words]]) -> str:
    """Return a list of names and values in a box."""
    inner = "".join(f"<dt>{spans(name)}</dt><dd>{spans(value)}</dd>" for name, value in pairs)
    return f'<dl class="box">{inner}</dl>'


def _choice(identifier: str, label: str, *, checked: bool) -> str:
    mark = " checked" if checked else ""
    return (
        f'<input type="radio" name="language" id="{identifier}"{mark}>'
        f'<label class="choose" for="{identifier}">{label}</label>'
    )


def without_namespace(text: str) -> str:
    """Return ``text`` without the SVG vocabulary's name, which looks like an address.

    Inside HTML a drawing needs none; and so a reader, or a test, sees at once that a report
    holds no address at all.
    """
    return text.replace(f' xmlns="{NAMESPACE}"', "")
