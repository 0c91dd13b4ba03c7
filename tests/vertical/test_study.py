"""What a vertical study may say: every rule, with the line of what breaks it."""

from __future__ import annotations

import pytest

from federated.vertical.study import VerticalStudy, is_vertical, parse_vertical
from fusion.errors import MessageInvalid, StudyInvalid
from fusion.wire import canonical
from tests.vertical.studies import boosting, linear, study_text

TEXT = study_text(boosting("dealer"))

WRONG = {
    "no model": (("[model]", "[modell]"), "is not known here. Did you mean `model`"),
    "a key of none": (("trees = 4", "treees = 4"), "Did you mean `trees`"),
    "a kind of none": (('kind = "boosting"', 'kind = "forest"'), "boosting"),
    "plain between nodes": (('backend = "dealer"', 'backend = "plain"'), "backend"),
    "two labels": (('columns = ["t0"', 'label = "x"\ncolumns = ["t0"'), "only one; here 2"),
    "no label": (('label = "over"\npositive = "yes"\n', ""), "only one; here 0"),
    "no columns": (('columns = ["t0", "t1", "tword"]\n', ""), "at least one column"),
    "more alone than trees": (("trees = 4", "trees = 4\nalone_trees = 5"), "at most `trees`"),
    "shares above 1": (("trees = 4", "trees = 4\ngoss = { top = 0.6, other = 0.6 }"), "at most 1"),
    "stops unseen": (("test_fraction = 0.25", "test_fraction = 0.0"), None),
    "an unknown direction": (("trees = 4", "trees = 4\nmonotone = { mars = 1 }"), "'mars'"),
    "words of another": (
        ('columns = ["t0", "t1", "tword"]', 'columns = ["t0", "tword"]\nwords = ["t1"]'),
        "`words` are some of the party's `columns`",
    ),
    "an organisation twice": (('organisation = "work"', 'organisation = "tax"'), "twice"),
}


@pytest.mark.parametrize(("change", "message"), WRONG.values(), ids=WRONG)
def test_what_breaks_a_rule_is_named_with_its_line(
    change: tuple[str, str], message: str | None
) -> None:
    text = TEXT if message is not None else TEXT + "stop_after = 3\n"
    with pytest.raises(StudyInvalid, match=r"^vertical\.toml:\d+: ") as found:
        parse_vertical(text.replace(*change), "vertical.toml")
    assert (message or "nobody sees when to stop") in str(found.value)


def test_a_key_of_another_kind_of_model_is_answered_with_those_of_this_one() -> None:
    text = study_text(linear("poisson")).replace("epochs = 6", "trees = 6")
    with pytest.raises(StudyInvalid, match="`trees` is not known here") as found:
        parse_vertical(text, "vertical.toml")
    assert found.value.hint == (
        "Known here where `kind` is `poisson`: "
        "kind, backend, epochs, learning_rate, momentum, l2, key_bits."
    )


@pytest.mark.parametrize("text", [TEXT, study_text(linear("poisson"))])
def test_a_study_comes_back_over_the_wire(text: str) -> None:
    study = parse_vertical(text, "s")
    assert is_vertical(text)
    assert VerticalStudy.from_canonical(study.canonical()).digest() == study.digest()
    assert study.digest() != parse_vertical(text.replace("seed = 7", "seed = 8"), "s").digest()
    assert b'"words"' not in study.canonical()  # who says nothing of them keeps the digest
    stated = text.replace('"tword"]', '"tword"]\nwords = ["t0"]')
    study = parse_vertical(stated, "s")
    assert VerticalStudy.from_canonical(study.canonical()) == study
    assert study.party("tax").words == ("t0",)


def test_over_the_wire_defaults_are_stated_and_rules_hold() -> None:
    value = canonical.decode(parse_vertical(TEXT, "s").canonical())
    for change in ({"extra": 1}, {"model": {"kind": "boosting"}}, {"schema": "fusion.study/1"}):
        with pytest.raises(MessageInvalid):
            VerticalStudy.from_canonical(canonical.encode({**value, **change}))
    assert not is_vertical("[study]\nname = 3")
    assert not is_vertical("not TOML")
    assert not is_vertical("study = 3")
