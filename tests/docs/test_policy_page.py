"""The reference of the policy is what the code says: keys, defaults, functions, codes."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from sandbox import policy
from sandbox.functions import NAMES
from sandbox.refusals import RULES
from tests.docs.sources import ROOT

if TYPE_CHECKING:
    from pydantic import BaseModel

PAGE = (ROOT / "docs/policy.md").read_text("utf-8")
PARTS: list[type[BaseModel]] = [
    policy.Policy, policy.Table, policy.Key, policy.Dimension, policy.Number, policy.Date,
    policy.Public, policy.Release, policy.Dominance, policy.Quantiles, policy.Noise, policy.Budget,
    policy.Time,
]  # fmt: skip


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.__name__)
def test_every_key_is_on_the_page(part: type[BaseModel]) -> None:
    for name, field in part.model_fields.items():
        key = field.alias or name
        assert re.search(rf"[`{{, ]{key}[`}}, ]", PAGE), key


def test_every_function_is_on_the_page() -> None:
    assert not [name for name in NAMES if f"`{name}`" not in PAGE]


def test_every_code_is_on_the_page() -> None:
    shown = set(re.findall(r"^\| (Q-\d\d) \|", PAGE, re.MULTILINE))
    assert shown == set(RULES)


def test_defaults_are_those_of_the_code() -> None:
    release, time = policy.Release(), policy.Time()
    for key, value in [("k", release.k), ("p_percent", release.p_percent), ("base", release.base),
                       ("freedom", release.freedom), ("rows", release.rows), ("late", time.late),
                       ("first_milliseconds", time.first_milliseconds)]:  # fmt: skip
        row = next(line for line in PAGE.splitlines() if line.startswith(f"| `{key}` |")
                   and str(value) in line)  # fmt: skip
        assert row.rstrip(" |").endswith(str(value))
