"""What is said of a document that does not fit: the key, and what may have been meant."""

from __future__ import annotations

import pytest

from fusion.errors import InputInvalid, PolicyInvalid
from fusion.grants.python_job import header_of
from sandbox.reading import parse_policy
from tests.queries.python_world import BY_REGION
from tests.queries.world import POLICY

KNOWN = "key, dimension, number, date, public"


@pytest.mark.parametrize(
    ("before", "after", "message", "hint"),
    [
        (
            "class: number",
            "clas: number",
            "p.yaml:12: `income` lacks its `class`.",
            "Is `clas` meant to be `class`? It is one of " + ", ".join(sorted(KNOWN.split(", "))),
        ),
        (
            "class: number, ",
            "",
            "p.yaml:12: `income` lacks its `class`.",
            "It is one of " + ", ".join(sorted(KNOWN.split(", "))),
        ),
        (
            "class: number",
            "class: numbr",
            "p.yaml:12: `income`: `numbr` is not a `class`.",
            "Did you mean `number`?",
        ),
        (
            "class: number",
            "class: secret",
            "p.yaml:12: `income`: `secret` is not a `class`.",
            "Known here: ",
        ),
        (
            "{class: number, low: 0, high: 200000}",
            "number",
            "p.yaml:12: `income`: ",
            "",
        ),
    ],
)
def test_a_part_of_no_known_class_is_named_with_the_classes_there_are(
    before: str, after: str, message: str, hint: str
) -> None:
    with pytest.raises(PolicyInvalid) as refused:
        parse_policy(POLICY.replace(before, after), "p.yaml")
    assert refused.value.message.startswith(message)
    assert refused.value.hint.startswith(hint)
    assert "discriminator" not in str(refused.value)
    assert "tag" not in refused.value.message.replace("tags", "")


@pytest.mark.parametrize(
    ("before", "after", "message", "hint"),
    [
        ("max_rows", "max_row", "`max_row` is not known here.", "Did you mean `max_rows`?"),
        ("statistic", "statistik", "`statistik` is not known here.", "Did you mean `statistic`?"),
        ('form = "people"\n', "", "its block: `form` is missing.", ""),
        ("max_rows = 10", 'max_rows = "ten"', "its block: `max_rows`: input should be", ""),
    ],
)  # fmt: skip
def test_the_block_of_a_job_is_read_like_other_documents(
    before: str, after: str, message: str, hint: str
) -> None:
    with pytest.raises(InputInvalid) as refused:
        header_of(
            BY_REGION.replace(f"# {before}" if before[:4] == "form" else before, after), "job.py"
        )
    assert message in refused.value.message
    assert refused.value.hint == hint
