"""The page of Python jobs is what the code says: keys, defaults, codes, the script it shows."""

from __future__ import annotations

import re

import pytest

from fusion.grants.approval import RULES
from fusion.grants.python_job import Column, Measure, Returns, check_script, header_of
from tests.docs.sources import ROOT

PAGE = (ROOT / "docs/python.md").read_text("utf-8")


@pytest.mark.parametrize("part", [Returns, Column, Measure], ids=lambda part: part.__name__)
def test_every_key_is_on_the_page(part: type[Returns | Column | Measure]) -> None:
    keys = {field.alias or name for name, field in part.model_fields.items()} - {"schema"}
    assert not [key for key in keys if not re.search(rf"`{key}[` ]", PAGE)]


def test_every_code_is_on_the_page() -> None:
    assert set(re.findall(r"^\| (P-\d\d) \|", PAGE, re.MULTILINE)) == set(RULES)


def test_the_script_that_is_shown_can_be_submitted() -> None:
    script = PAGE.split("```python\n")[1].split("```")[0]
    assert header_of(check_script(script.encode()), "docs/python.md").form == "people"
