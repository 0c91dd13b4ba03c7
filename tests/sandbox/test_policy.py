"""The policy: what is read, what is refused with its line, what is signed."""

from __future__ import annotations

import pytest

from fusion.crypto.signing import SigningKey
from fusion.errors import MessageInvalid, PolicyInvalid, QueryRefused, SignatureInvalid
from sandbox.analyse import analyse
from sandbox.policy import Policy, open_policy, policy_of, sign
from sandbox.query import compile_statement
from sandbox.reading import parse_policy
from sandbox.template import TEMPLATE
from sandbox.weak import weaker_than_usual
from tests.sandbox.asking import EXAMPLE, exact, example

TEXT = EXAMPLE.read_text("utf-8")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("schema: fusion.policy/1", "schema: fusion.policy/2", "2: `schema`"),
        ("mode: sdc", "mode: none", "4: `mode`"),
        ("mode: sdc", "mode: dp", "4: Mode `dp` needs a `budget`"),
        ("mode: sdc", "mode: sdc\nextra: 1", "5: `extra` is not known"),
        ("entity: person_id", "entity: sex", "The entity is a column of class `key`"),
        ("public: true", "public: false", "either names its `entity` or is `public`"),
        ("low: 0, high: 10000000", "low: 5, high: 5", "`low` has to be below `high`"),
        ("low: 1900, high: 2030", "low: 1900", "has `low` below `high`"),
        ("sex: {class: dimension}", "sex: {class: dimension, low: 1, high: 2}", "Only a dimension"),
        ("sex: {class: dimension}", "sex: {class: public}", "A public table has"),
        ("sex: {class: dimension}", "SEX: {class: dimension}\n      sex: {class: key}", "in case"),
        ("sex: {class: dimension}", "__s: {class: dimension}", "match pattern"),
        ("low: 0, high: 1000000,", "low: 0.5, high: 1000000,", "whole one"),
        ("decimals: 2, low: 0, high: 10000000", "decimals: 7, low: 0, high: 1", "`decimals`"),
        ("tables:", "functions: [count, eval]\ntables:", "'eval' is no function"),
        ("2000-01-01", "2000-02-30", "`low`"),
    ],
)
def test_a_mistake_is_named_with_its_line(old: str, new: str, said: str) -> None:
    assert old in TEXT
    with pytest.raises(PolicyInvalid) as wrong:
        parse_policy(TEXT.replace(old, new, 1), "policy.yaml")
    assert said in wrong.value.message
    assert wrong.value.message.startswith("policy.yaml:")


def test_the_template_is_a_policy_as_strong_as_usual() -> None:
    assert weaker_than_usual(parse_policy(TEMPLATE, "policy.yaml")) == []


_NUMBER = "{class: number, low: 0, high: 10"


@pytest.mark.parametrize(
    ("release", "column", "said"),
    [
        ("k: 9", "", ["release.k is 9, 10 is usual"]),
        ("base: 4", "", ["release.base is 4, 5 is usual"]),
        ("freedom: 0", "", ["release.freedom is 0, 10 is usual"]),
        ("rows: 20000", "", ["release.rows is 20000, 10000 is usual"]),
        ("sums: none", "", ["release.sums is none, largest is usual"]),
        ("dominance: null", "", ["release.dominance is off, {n: 2, percent: 90} is usual"]),
        ("dominance: {n: 1, percent: 100}", "", ["release.dominance.n is 1, 2 is usual",
         "release.dominance.percent is 100, 90 is usual"]),
        ("p_percent: 1", "", ["release.p_percent is 1, 10 is usual"]),
        ("p_percent: null", "", ["release.p_percent is off, 10 is usual"]),
        ("quantiles: {low_percent: 1, high_percent: 99, rounding: none}", "",
         ["release.quantiles.low_percent is 1, 5 is usual",
          "release.quantiles.high_percent is 99, 95 is usual",
          "release.quantiles.rounding is none, bin is usual"]),
        ("conditions: exact", f"{_NUMBER}, bin: 5}}",
         ["release.conditions is exact, bin is usual"]),
        ("conditions: exact", f"{_NUMBER}}}",
         ["release.conditions is exact, bin is usual", "bin is not stated of people.other"]),
        ("k: 10", f"{_NUMBER}}}", ["bin is not stated of people.other"]),
        ("k: 10", f"{_NUMBER}, bin: 5, sensitive: false}}", ["sensitive is false, true is usual"]),
        ("k: 10", "{class: date, finest: week}", ["finest is week, month is usual, of people."]),
        ("k: 11, base: 10, dominance: {n: 2, percent: 50}", f"{_NUMBER}, bin: 5}}", []),
    ],
)  # fmt: skip
def test_each_setting_that_is_weaker_than_usual_is_said(
    release: str, column: str, said: list[str]
) -> None:
    text = (
        "schema: fusion.policy/1\ntitle: t\ntables:\n  people:\n    entity: id\n    columns:\n"
        "      id: {class: key}\n      other: "
        f"{column or '{class: dimension}'}\nrelease: {{{release}}}\n"
    )
    found = weaker_than_usual(parse_policy(text, "policy.yaml"))
    assert len(found) == len(said), found
    assert all(each.startswith(own) for each, own in zip(found, said, strict=True)), found


def test_it_is_signed_and_opened_as_it_was() -> None:
    key, policy = SigningKey.generate(), example()
    data = sign(policy, "owner", key)
    name, opened = open_policy(data, {"owner": key.public})
    assert (name, opened, opened.digest) == ("owner", policy, policy.digest)


def test_a_changed_policy_does_not_open() -> None:
    key = SigningKey.generate()
    data = sign(example(), "owner", key)
    weaker = sign(exact(), "owner", SigningKey.generate())
    with pytest.raises(SignatureInvalid):
        open_policy(weaker, {"owner": key.public})
    for place in range(0, len(data), 97):
        changed = data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]
        with pytest.raises((MessageInvalid, SignatureInvalid)):
            open_policy(changed, {"owner": key.public})


def test_bytes_that_leave_a_default_unsaid_are_refused() -> None:
    data = example().canonical()
    assert policy_of(data) == example()
    with pytest.raises(MessageInvalid, match="defaults"):
        policy_of(data.replace(b'"budget":null,', b""))
    with pytest.raises(MessageInvalid):
        policy_of(b"x" * 2_000_000)


def test_an_allow_list_of_functions_is_kept_to() -> None:
    policy = example().model_copy(update={"functions": ("count", "date_trunc")})
    analyse("select date_trunc('month', visit_date), count(*) from visits group by 1", policy)
    with pytest.raises(QueryRefused) as refused:
        analyse("select avg(income) from persons", policy)
    assert refused.value.code == "Q-17"


def test_nothing_under_mode_dp_is_answered_by_the_rules_of_release() -> None:
    text = TEXT.replace("mode: sdc", "mode: dp\nbudget: {grant_rho_micro: 5, dataset_rho_micro: 9}")
    policy = parse_policy(text, "policy.yaml")
    with pytest.raises(QueryRefused) as refused:
        compile_statement("select count(*) from persons", policy)
    assert refused.value.code == "Q-18"


def test_a_policy_has_one_digest() -> None:
    assert len({example().digest, exact().digest}) == 2
    assert Policy.model_validate(example().model_dump(by_alias=True)).digest == example().digest
