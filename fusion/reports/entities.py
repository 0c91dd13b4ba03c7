"""The entity graph as a drawing: owners with their datasets, the entities, who may use what.

From left to right: operators that a grant names, owners as panels of dataset cards, entities. A
colour of a line is that of its entity, the bar of a card that of its level; each also has its
words. Lines to an entity that only one dataset identifies are dotted: nothing joins there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeVar

from fusion.catalogue.descriptor import LEVELS
from fusion.reports.svg import drawing
from fusion.reports.words import Words, escape, same, spans

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from fusion.catalogue.graph import DatasetNode, EntityGraph, Node

_T = TypeVar("_T")
TITLE: Final = Words("What can be joined", "哪些数据可以关联")
ENTITY_WORDS: Final[Mapping[str, Words]] = {
    "person": Words("Person", "自然人"),
    "enterprise": Words("Enterprise", "企业"),
    "household": Words("Household", "家庭户"),
    "place": Words("Place", "地点"),
    "matter": Words("Matter", "事项"),
}
SCHEME_WORDS: Final[Mapping[str, Words]] = {
    "gb11643": Words("identification number, GB 11643", "公民身份号码 GB 11643"),
    "gb32100": Words("social credit code, GB 32100", "统一社会信用代码 GB 32100"),
    "gbt2260": Words("division code, GB/T 2260", "行政区划代码 GB/T 2260"),
    "household-number": Words("household number", "户号"),
    "matter-code": Words("code of the matter", "事项编码"),
}
LEVEL_WORDS: Final[Mapping[str, Words]] = {
    **{f"general-{n}": Words(f"general {n}", f"一般 {n} 级") for n in range(1, 5)},
    "important": Words("important", "重要数据"),
    "core": Words("core", "核心数据"),
}
ACTION_WORDS: Final[Mapping[str, Words]] = {
    "train": Words("train", "训练"),
    "align": Words("align", "对齐"),
    "query": Words("query", "查询"),
    "score": Words("score", "评分"),
    "mock": Words("mock", "样例"),
}
_COLOURS: Final = {"person": 3, "enterprise": 0, "household": 4, "place": 2, "matter": 5}
# Drawn about the middle of the ring.
_SIGNS: Final = {
    "person": "M-8 10c0-7 4-9 8-9s8 2 8 9M0-10a4.6 4.6 0 1 0 .01 0z",
    "enterprise": "M-9 10V-8h10V10M1-2h8V10M-11 10H11M-5-3h2M-5 2h2M5 3v2",
    "household": "M-10 0L0-9 10 0M-7-2V9H7V-2M-2 9V3h4v6",
    "place": "M0 11C-6 3-8 0-8-3a8 8 0 0 1 16 0c0 3-2 6-8 14zM0-6a3 3 0 1 0 .01 0z",
    "matter": "M-7-10H3l5 5V10H-7zM3-10v5h5M-3 0h7M-3 4h7",
}
_CARD_WIDTH: Final = 330
_PANEL_LEFT: Final = 24
_OPERATORS: Final = 220
"""Width that the column of operators takes where there is one."""
_GAP: Final = 230
_RING: Final = 24
_ENTITY_WIDTH: Final = 250
_ROW: Final = 17
_TOP: Final = 66


def entity_graph(graph: EntityGraph) -> str:
    """Draw the graph; any number of datasets, best below a hundred."""
    plan = _plan(graph)
    body = [
        *_legend(graph, bool(plan.operators)),
        *(piece for panel in plan.panels for piece in panel.frame()),
        *_hangs(graph, plan),
        *_grants(graph, plan),
        *(piece for card in plan.cards.values() for piece in card.pieces()),
        *_entities(graph, plan),
        *_operators(plan),
    ]
    owners = len(plan.panels)
    said = Words(
        f"{len(graph.datasets)} datasets of {owners} owners, {len(graph.entities)} entities, "
        f"{len(graph.joins())} joins",
        f"{owners} 个提供方的 {len(graph.datasets)} 个数据集，{len(graph.entities)} 类实体，"
        f"{len(graph.joins())} 种关联",
    )
    return drawing(TITLE, said.both, body, size=(plan.width, plan.height))


# ---------------------------------------------------------------------------------- places


@dataclass(frozen=True, slots=True)
class _Card:
    """A dataset's card."""

    dataset: DatasetNode
    x: float
    y: float

    @property
    def height(self) -> float:
        return _card_height(self.dataset)

    def port(self, index: int) -> tuple[float, float]:
        """Return where the line of a key begins."""
        rows = len(self.dataset.keys)
        start = self.y + (self.height - _ROW * (rows - 1)) / 2
        return self.x + _CARD_WIDTH, start + _ROW * index

    def pieces(self) -> list[str]:
        """Return the card as markup."""
        each, level = self.dataset, LEVELS.index(self.dataset.level)
        titles = Words(_short(each.en, 32), _short(each.zh, 32))
        words = LEVEL_WORDS[each.level]
        tip = escape(f"{each.name}: {each.en} / {each.zh}; {words.both}; {each.rows}")
        low = self.y + self.height - 13
        parts = [
            f"<g><title>{tip}</title>",
            _box("card", self.x, self.y, _CARD_WIDTH, self.height, 7),
            _box(f"l{level}", self.x, self.y + 6, 5, self.height - 12, 2.5),
            _line(self.x + 16, self.y + 20, same(_short(each.id, 22)), "name"),
            _line(self.x + 16, self.y + 37, titles),
            f'<circle class="l{level}" cx="{self.x + 20:.1f}" cy="{low - 4:.1f}" r="4"/>',
            _line(self.x + 29, low, words),
        ]
        for index, (column, node) in enumerate(each.keys):
            x, y = self.port(index)
            name = same(_short(column, 20))
            parts.append(_line(x - 11, y + 4, name, "label", "end"))
            colour = _COLOURS[node.entity]
            parts.append(f'<circle class="f{colour}" cx="{x:.1f}" cy="{y:.1f}" r="4"/>')
        return [*parts, "</g>"]


@dataclass(frozen=True, slots=True)
class _Panel:
    """An owner's datasets."""

    owner: str
    x: float
    y: float
    height: float

    def frame(self) -> list[str]:
        """Return the panel's ground and name."""
        return [
            _box("panel", self.x - 14, self.y, _CARD_WIDTH + 28, self.height, 11),
            _line(self.x, self.y + 22, same(_short(self.owner, 36)), "name big"),
        ]


@dataclass(frozen=True, slots=True)
class _Plan:
    """Where everything is."""

    panels: Sequence[_Panel]
    cards: Mapping[str, _Card]
    entities: Mapping[Node, tuple[float, float]]
    operators: Mapping[str, tuple[float, float]]
    width: float
    height: float


def _card_height(dataset: DatasetNode) -> float:
    return max(68.0, 26.0 + _ROW * len(dataset.keys))


def _plan(graph: EntityGraph) -> _Plan:
    operators = sorted({to for each in graph.datasets for to, _ in each.granted})
    left = _PANEL_LEFT + 14 + (_OPERATORS if operators else 0)
    panels: list[_Panel] = []
    cards: dict[str, _Card] = {}
    y = float(_TOP)
    for owner in dict.fromkeys(each.owner for each in graph.datasets):
        start, y = y, y + 34
        for each in graph.datasets:
            if each.owner == owner:
                cards[each.name] = _Card(each, left, y)
                y += _card_height(each) + 10
        panels.append(_Panel(owner, left, start, y + 4 - start))
        y += 22
    x = left + _CARD_WIDTH + _GAP
    ports: dict[Node, list[float]] = {}
    for card in cards.values():
        for index, (_, node) in enumerate(card.dataset.keys):
            ports.setdefault(node, []).append(card.port(index)[1])
    entities = _spread({n: sum(p) / len(p) for n, p in ports.items()}, x, 92.0)
    uses = {
        to: [
            card.y + card.height / 2
            for card in cards.values()
            if to in {who for who, _ in card.dataset.granted}
        ]
        for to in operators
    }
    placed = _spread({to: sum(ys) / len(ys) for to, ys in uses.items()}, _PANEL_LEFT, 62.0)
    lowest = [y, *(at + 60 for _, at in (*entities.values(), *placed.values()))]
    return _Plan(panels, cards, entities, placed, x + _RING + _ENTITY_WIDTH, max(lowest))


def _spread(wanted: Mapping[_T, float], x: float, gap: float) -> dict[_T, tuple[float, float]]:
    """Return places in one column, each as near to where it would like to be as the gap lets it."""
    order = sorted(wanted, key=lambda item: wanted[item])
    ys: list[float] = []
    for item in order:
        ys.append(max(wanted[item], ys[-1] + gap if ys else _TOP + 46.0))
    # What was pushed down is taken back up together, so that the column stays in the middle.
    drift = sum(y - wanted[item] for y, item in zip(ys, order, strict=True)) / max(len(ys), 1)
    up = max(0.0, min(drift, ys[0] - _TOP - 46.0)) if ys else 0.0
    return {item: (x, y - up) for y, item in zip(ys, order, strict=True)}


# --------------------------------------------------------------------------------- drawing


def _hangs(graph: EntityGraph, plan: _Plan) -> list[str]:
    lines = []
    for node in graph.entities:
        users = {each.name for each in graph.datasets for _, named in each.keys if named == node}
        style = f"hang s{_COLOURS[node.entity]}" + (" alone" if len(users) < 2 else "")
        end = plan.entities[node]
        for card in plan.cards.values():
            for index, (column, named) in enumerate(card.dataset.keys):
                if named == node:
                    tip = f"{card.dataset.name}.{column} – {ENTITY_WORDS[node.entity].both}"
                    lines.append(_curve(style, card.port(index), (end[0] - _RING - 2, end[1]), tip))
    return lines


def _grants(graph: EntityGraph, plan: _Plan) -> list[str]:
    lines = []
    for each in graph.datasets:
        card = plan.cards[each.name]
        for to, actions in each.granted:
            x, y = plan.operators[to]
            end = (card.x, card.y + card.height / 2)
            tip = f"{to}: {', '.join(actions)} – {each.name}"
            lines.append(_curve("grant", (x + _OPERATORS - 62, y), end, tip))
    return lines


def _curve(style: str, start: tuple[float, float], end: tuple[float, float], tip: str) -> str:
    middle = (start[0] + end[0]) / 2
    return (
        f'<path class="{style}" d="M{start[0]:.1f} {start[1]:.1f}C{middle:.1f} {start[1]:.1f} '
        f'{middle:.1f} {end[1]:.1f} {end[0]:.1f} {end[1]:.1f}"><title>{escape(tip)}</title></path>'
    )


def _entities(graph: EntityGraph, plan: _Plan) -> list[str]:
    parts = []
    for node in graph.entities:
        x, y = plan.entities[node]
        colour = _COLOURS[node.entity]
        users = [each for each in graph.datasets if any(n == node for _, n in each.keys)]
        count, owners = len(users), len({each.owner for each in users})
        said = (
            Words(
                f"{count} datasets of {owners} owners join", f"{owners} 方 {count} 个数据集可关联"
            )
            if count > 1
            else Words("one dataset: nothing to join", "仅一个数据集，无可关联")
        )
        parts += [
            f'<circle class="ring s{colour}" cx="{x:.1f}" cy="{y:.1f}" r="{_RING}"/>',
            _sign(node.entity, x, y),
            _line(x + _RING + 12, y - 10, ENTITY_WORDS[node.entity], "name big"),
            _line(x + _RING + 12, y + 7, SCHEME_WORDS.get(node.scheme, same(node.scheme)), "label"),
            _line(x + _RING + 12, y + 23, said),
        ]
    return parts


def _operators(plan: _Plan) -> list[str]:
    parts = []
    for name, (x, y) in plan.operators.items():
        actions: dict[str, None] = {}
        for card in plan.cards.values():
            for to, what in card.dataset.granted:
                if to == name:
                    actions.update(dict.fromkeys(what))
        parts += [
            _box("card", x, y - 22, _OPERATORS - 62, 44, 22),
            _line(x + 18, y - 3, same(_short(name, 16)), "name"),
            _line(x + 18, y + 13, action_words(actions)),
        ]
    return parts


def action_words(actions: Iterable[str]) -> Words:
    """Return a list of actions in both languages."""
    found = [ACTION_WORDS[action] for action in actions]
    return Words(", ".join(w.en for w in found), "、".join(w.zh for w in found))


def _legend(graph: EntityGraph, granted: bool) -> Iterable[str]:  # noqa: FBT001 - one caller
    at = float(_PANEL_LEFT)
    for index, level in enumerate(LEVELS):
        if any(each.level == level for each in graph.datasets):
            words = LEVEL_WORDS[level]
            yield f'<rect class="l{index}" x="{at:.1f}" y="15" width="11" height="11" rx="3"/>'
            yield _line(at + 17, 25, words)
            at += 34 + max(6.2 * len(words.en), 11.0 * len(words.zh))
    at += 16
    marks = [
        ("hang s0", Words("joins", "可关联")),
        ("hang s0 alone", Words("alone", "无可关联")),
    ]
    marks += [("grant", Words("may be used, by a grant", "经授权可使用"))] if granted else []
    for style, words in marks:
        yield f'<path class="{style}" d="M{at:.1f} 21h26"/>'
        yield _line(at + 33, 25, words)
        at += 54 + max(6.2 * len(words.en), 11.0 * len(words.zh))


def _box(style: str, x: float, y: float, width: float, height: float, radius: float) -> str:
    return (
        f'<rect class="{style}" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" '
        f'height="{height:.1f}" rx="{radius:g}"/>'
    )


def _sign(entity: str, x: float, y: float) -> str:
    return (
        f'<path class="sign s{_COLOURS[entity]}" transform="translate({x:.1f} {y:.1f})" '
        f'd="{_SIGNS[entity]}"/>'
    )


def _line(x: float, y: float, words: Words, style: str = "", anchor: str = "start") -> str:
    kind = f' class="{style}"' if style else ""
    return (
        f'<text{kind} x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{spans(words, "tspan")}</text>'
    )


def _short(text: str, most: int) -> str:
    """Return a text that takes at most so many columns; a Chinese character takes two."""
    used = 0
    for at, mark in enumerate(text):
        used += 1 if mark.isascii() else 2
        if used > most:
            return f"{text[: max(at - 1, 0)]}…"
    return text
