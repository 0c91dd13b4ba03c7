"""The report of a run: complete, in two languages, and without a trace of any other host."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest

from fusion.cli.progress import metric_words
from fusion.reports.training import auc_chart, render
from tests.reports.drawings import parse
from tests.reports.records import ORGANISATIONS, comparison, record, round_event

HOSTILE = "<img src=//host.example/x onerror=alert(1)>\"'</title></style><script>"
SVG = "{http://www.w3.org/2000/svg}"
VOID = {"meta", "input", "br", "img", "link"}


class Page(HTMLParser):
    """Reads a page: elements, attributes, text, and whether every element is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_is_balanced_and_names_everyone() -> None:
    page = Page(render(record(), baselines=comparison()))
    assert page.open == []
    for name in ORGANISATIONS:
        assert f"{name} alone" in page.text
    assert "0.6204" in page.text
    assert "0.6213" in page.text
    assert "3 of 4 holders together" in page.text


@pytest.mark.parametrize("run", [record(), record(absent="state"), {"status": "failed"}, {}])
def test_no_address_and_nothing_to_load(run: dict[str, object]) -> None:
    text = render(run, baselines=comparison())
    assert "//" not in text
    assert "url(" not in text
    assert "@import" not in text
    page = Page(text)
    assert not set(page.tags) & {"script", "link", "img", "iframe", "object", "form", "a"}
    assert not [a for a in page.attributes if a[1] in {"src", "href", "style"}]
    assert not [a for a in page.attributes if a[1].startswith("on")]


def test_the_policy_forbids_everything_but_its_own_style() -> None:
    page = Page(render(record()))
    policies = [v for tag, name, v in page.attributes if tag == "meta" and name == "content"]
    assert "default-src 'none'; style-src 'unsafe-inline'" in policies


@pytest.mark.parametrize(("language", "checked"), [("en", "en"), ("zh", "zh")])
def test_both_languages_are_there_and_one_is_chosen(language: str, checked: str) -> None:
    text = render(record(), baselines=comparison(), language=language)
    chosen = re.findall(r'<input type="radio" name="language" id="(\w+)" checked>', text)
    assert chosen == [checked]
    page = Page(text)
    assert "Who can decrypt" in page.text
    assert "谁能解密" in page.text
    english = len([a for a in page.attributes if a[1:] == ("lang", "en") and a[0] != "html"])
    chinese = len([a for a in page.attributes if a[1:] == ("lang", "zh")])
    assert english == chinese > 50


def test_another_language_is_refused() -> None:
    with pytest.raises(ValueError, match="en, zh"):
        render(record(), language="fr")


def test_every_drawing_is_well_formed() -> None:
    drawings = re.findall(r"<svg.*?</svg>", render(record(), baselines=comparison()), re.DOTALL)
    assert len(drawings) == 6
    for drawing in drawings:
        parse(drawing)


def test_the_untrained_model_is_not_drawn() -> None:
    dots = parse(auc_chart(record(rounds=3), comparison())).iter(f"{SVG}circle")
    tips = [dot.findtext(f"{SVG}title") for dot in dots]
    assert [tip.split(": ")[1] for tip in tips if tip] == ["1, 0.54", "2, 0.58", "3, 0.62"]


def test_a_measure_that_is_not_defined_is_a_dash() -> None:
    found = record(rounds=2)
    for event in found["metrics"]:
        event |= {"auc": None, "ks": None, "roc": []}
    compared = {**comparison(), "auc": {"joint": None, "pooled": None}}
    compared["organisations"] = [{**each, "auc_alone": None} for each in compared["organisations"]]
    for baselines in (None, compared):
        text = render(found, baselines=baselines)
        assert "AUC –" in text
        assert not re.search(r"\bnan\b|None", Page(text).text)
    assert "AUC" not in metric_words({"loss": 0.6, "auc": None, "ks": None})


def test_who_was_absent_is_named_with_since_when_and_why() -> None:
    text = Page(render(record(absent="state"))).text
    assert "2026-01-02T03:04:05Z" in text
    assert "did not submit in time" in text
    assert "Nobody was absent." not in text
    assert "Nobody was absent." in Page(render(record())).text


def test_updates_beyond_the_clip_are_counted_by_the_round() -> None:
    run = record()
    assert "No update went beyond the study's clip." in Page(render(run)).text
    run["rounds"][1]["clipped"] = 12
    run["rounds"][3]["clipped"] = 3456
    text = Page(render(run)).text
    assert "12 in round 1, 3,456 in round 3." in text
    assert "第 1 轮 12 个，第 3 轮 3,456 个" in text
    assert "No update went beyond" not in text


def test_a_share_at_the_hub_is_said_aloud() -> None:
    run = record()
    run["key"]["hub_holds_share"] = True
    assert "a share was FOUND" in Page(render(run)).text
    run["key"]["hub_holds_share"] = False
    assert "its folder was searched" in Page(render(run)).text


def test_the_report_says_which_engine_computed_where() -> None:
    run = record()
    assert "computed by" not in Page(render(run)).text
    run["engine"] = "ifma"
    run["setup"] = [
        {"event": "setup", "organisation": "state", "status": "ready", "engine": "gmp"},
        {"event": "setup", "organisation": "local", "status": "ready", "engine": "ifma"},
        {"event": "setup", "organisation": "federal", "status": "absent"},
    ]
    assert "ifma: hub, local; gmp: state" in Page(render(run)).text


def test_hostile_text_stays_text() -> None:
    run = record()
    run["study"] = run["job"] = run["message"] = HOSTILE
    run["organisations"] = [HOSTILE]
    run["key"]["holders"] = [HOSTILE]
    hostile_round = round_event(1, absent=HOSTILE)
    run["rounds"] = [{**hostile_round, "contributors": [HOSTILE]}]
    comparison_ = {**comparison(), "organisations": [{"id": HOSTILE, "rows": 1, "auc_alone": 0.5}]}
    page = Page(render(run, baselines=comparison_))
    assert page.open == []
    assert not set(page.tags) & {"script", "img"}
    assert HOSTILE in page.text


def test_the_same_record_gives_the_same_page() -> None:
    assert render(record(), baselines=comparison()) == render(record(), baselines=comparison())
