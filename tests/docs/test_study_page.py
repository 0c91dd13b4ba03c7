"""The reference of the study file says what the code says: every key, its default, an example."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

from federated import study_document as document
from federated.study import parse_study
from tests.docs.sources import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = ROOT / "docs/study.md"

SECTIONS: dict[str, type[document.Section]] = {
    "`[study]`": document.StudySection,
    '`[model]`, `kind = "logistic"`': document.Logistic,
    '`[model]`, `kind = "mlp"`': document.Mlp,
    "`[local]`": document.Local,
    '`[optimiser]`, `kind = "fedavg"`': document.FedAvg,
    '`[optimiser]`, `kind = "fedavgm"`': document.FedAvgM,
    '`[optimiser]`, `kind = "fedadam"`': document.FedAdam,
    "`[aggregation]`": document.Aggregation,
    "`[key]`": document.Key,
    "`[deadlines]`": document.Deadlines,
    "`[privacy]`": document.Privacy,
    '`[[columns]]`, `type = "number"`': document.NumberColumn,
    '`[[columns]]`, `type = "category"`': document.CategoryColumn,
}


def _sections() -> dict[str, dict[str, list[str]]]:
    """Return the page's tables: heading to key to the cells of its row."""
    found: dict[str, dict[str, list[str]]] = {}
    for part in PAGE.read_text("utf-8").split("\n## ")[1:]:
        heading, _, body = part.partition("\n")
        rows = [line.strip("|").split("|") for line in body.splitlines() if line.startswith("| `")]
        found[heading] = {row[0].strip(" `"): [cell.strip() for cell in row] for row in rows}
    return found


def _fields() -> Iterator[tuple[str, str, Any]]:
    """Yield heading, key and default as the page has to write it."""
    for heading, section in SECTIONS.items():
        for key, field in section.model_fields.items():
            yield heading, key, "required" if field.is_required() else str(field.default)


def _numbers(text: str) -> set[float]:
    """Return the numbers in a cell."""
    plain = text.replace(",", "").replace("2⁵³ − 1", str(2**53 - 1)).replace("2³⁰", str(2**30))
    return {float(number) for number in re.findall(r"\d+(?:\.\d+)?(?:e-?\d+)?", plain)}


def test_the_page_has_the_sections_of_the_code() -> None:
    assert list(_sections()) == list(SECTIONS)
    tables = set(document.Document.model_fields)
    named = {found for heading in SECTIONS for found in re.findall(r"^`\[+(\w+)", heading)}
    assert named == tables


@pytest.mark.parametrize("heading", SECTIONS)
def test_a_section_has_the_keys_of_the_code_in_order(heading: str) -> None:
    assert list(_sections()[heading]) == list(SECTIONS[heading].model_fields)


@pytest.mark.parametrize(("heading", "key", "default"), list(_fields()))
def test_a_key_has_the_default_of_the_code(heading: str, key: str, default: str) -> None:
    assert _sections()[heading][key][3] == default


@pytest.mark.parametrize(("heading", "key"), [(heading, key) for heading, key, _ in _fields()])
def test_a_key_has_the_bounds_of_the_code(heading: str, key: str) -> None:
    written = _numbers(_sections()[heading][key][2])
    for rule in SECTIONS[heading].model_fields[key].metadata:
        for bound in ("gt", "ge", "lt", "le", "min_length", "max_length"):
            value = getattr(rule, bound, None)
            if value is not None:
                # A range that is the same on both sides is written once, as "either way".
                assert abs(float(value)) in written, f"{bound}={value}"


def test_every_key_says_what_it_means() -> None:
    silent = [
        (heading, key)
        for heading, rows in _sections().items()
        for key, cells in rows.items()
        if not cells[4] and key not in {"kind", "type"}
    ]
    assert not silent


def test_the_example_is_a_study() -> None:
    examples = re.findall(r"^```toml\n(.*?)^```", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    assert len(examples) == 1
    assert parse_study(examples[0], "docs/study.md").features == 4
