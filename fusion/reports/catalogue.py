"""The catalogue on one page: the entity graph, what joins on what, and the datasets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fusion.reports.entities import (
    ENTITY_WORDS,
    LEVEL_WORDS,
    SCHEME_WORDS,
    TITLE,
    action_words,
    entity_graph,
)
from fusion.reports.page import page, paragraph, section, table, without_namespace
from fusion.reports.words import Words, escape, same, spans

if TYPE_CHECKING:
    from fusion.catalogue.graph import DatasetNode, EntityGraph


def catalogue_page(graph: EntityGraph, where: str, made: str, language: str = "en") -> str:
    """Return the page as one HTML file.

    Args:
        graph: What is known.
        where: Whose view it is: an organisation, or the hub.
        made: When, for people.
        language: ``en`` or ``zh``: what is shown first.
    """
    seen = Words(f"as {where} knows it, {made}", f"{where} 所知，{made}")
    header = f'<h1>{spans(TITLE)}</h1><p class="soft">{spans(seen)}</p>'
    note = Words(
        "Two datasets join where they identify the same entity by the same scheme. Whether they "
        "may be joined is for a grant to say; whose records meet is found by private alignment, "
        "and by nothing on this page. No value of the data is in it.",
        "两个数据集以同一标识体系标识同一类实体时即可关联。是否允许关联由授权决定；"
        "哪些记录相遇由隐私求交得出，本页不含任何数据值。",
    )
    body = [
        section(
            Words("Owners, datasets, entities", "提供方、数据集、实体"),
            paragraph(note, "soft"),
            f'<div class="scroll">{entity_graph(graph)}</div>',
        ),
        section(Words("Joins", "关联"), _joins(graph)),
        section(Words("Datasets", "数据集"), _datasets(graph)),
    ]
    footer = escape("Banyan · 融数")
    return without_namespace(page(TITLE.both, language, header, "".join(body), footer))


def _joins(graph: EntityGraph) -> str:
    heads = [
        Words("entity", "实体"),
        Words("scheme", "标识体系"),
        Words("one dataset", "数据集一"),
        Words("column", "列"),
        Words("the other", "数据集二"),
        Words("column", "列"),
    ]
    rows = [
        [
            ENTITY_WORDS[join.node.entity],
            SCHEME_WORDS.get(join.node.scheme, same(join.node.scheme)),
            *map(same, (*join.left, *join.right)),
        ]
        for join in graph.joins()
    ]
    if not rows:
        return paragraph(Words("Nothing joins yet.", "目前没有可关联的数据。"))
    return table(heads, rows, numbers=False)


def _datasets(graph: EntityGraph) -> str:
    heads = [
        Words("dataset", "数据集"),
        Words("title", "名称"),
        Words("level", "级别"),
        Words("rows", "行数"),
        Words("identifies", "标识"),
        Words("granted to", "已授权"),
    ]
    rows = [
        [
            same(each.name),
            Words(each.en, each.zh),
            LEVEL_WORDS[each.level],
            _rows(each.rows),
            _identifies([node.entity for _, node in each.keys]),
            _granted(each),
        ]
        for each in graph.datasets
    ]
    return table(heads, rows, numbers=False)


def _granted(each: DatasetNode) -> Words:
    found = [(to, action_words(what)) for to, what in each.granted]
    return Words(
        "; ".join(f"{to}: {what.en}" for to, what in found) or "–",
        "；".join(f"{to}：{what.zh}" for to, what in found) or "–",
    )


def _rows(text: str) -> Words:
    chinese = text.replace("under ", "少于 ").replace(" or more", " 以上").replace(" to ", " 至 ")
    return Words(text, chinese)


def _identifies(entities: list[str]) -> Words:
    found = [ENTITY_WORDS[entity] for entity in dict.fromkeys(entities)]
    if not found:
        return same("–")
    return Words(", ".join(w.en.lower() for w in found), "、".join(w.zh for w in found))
