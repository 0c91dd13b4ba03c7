"""The shape of the code: sizes, docstrings, names, and a map that leads to every file."""

from __future__ import annotations

import re

from tests.docs.sources import ROOT, SHIPPED, SOURCES, documents, name, outline, python_files

MAX_FILE_LINES = 500
MAX_FUNCTION_LINES = 60
VAGUE_NAMES = {"utils", "util", "common", "helpers", "misc", "manager"}


def test_no_file_is_longer_than_500_lines() -> None:
    long = {
        name(path): count
        for path in python_files(*SOURCES, "tests")
        if (count := len(path.read_text("utf-8").splitlines())) > MAX_FILE_LINES
    }
    assert not long


def test_no_function_is_longer_than_60_lines() -> None:
    long = [
        f"{name(path)}:{line} {function}"
        for path in python_files(*SOURCES, "tests")
        for line, function, lines in outline(path).functions
        if lines > MAX_FUNCTION_LINES
    ]
    assert not long


def test_every_module_says_what_it_is_for() -> None:
    silent = [
        name(path)
        for path in python_files(*SOURCES, "tests")
        if path.read_text("utf-8").strip() and not outline(path).documented
    ]
    assert not silent


def test_every_module_has_lazy_annotations() -> None:
    line = "from __future__ import annotations"
    missing = [
        name(path)
        for path in python_files(*SOURCES, "tests")
        if (text := path.read_text("utf-8")).strip() and line not in text
    ]
    assert not missing


def test_no_module_has_a_vague_name() -> None:
    assert not [name(path) for path in python_files(*SOURCES) if path.stem in VAGUE_NAMES]


def test_no_unfinished_work_is_marked_in_the_code() -> None:
    mark = re.compile(r"\b(TODO|FIXME|XXX)\b|raise NotImplementedError")
    own = {"test_shape.py"}
    assert not [
        name(path)
        for path in python_files(*SOURCES, "tests")
        if path.name not in own and mark.search(path.read_text("utf-8"))
    ]


def _mapped_paths() -> set[str]:
    """Return the paths in code spans of docs/map.md that look like files of this repository."""
    text = (ROOT / "docs/map.md").read_text("utf-8")
    spans = re.findall(r"`([A-Za-z_.][\w./-]*)`", text)
    tops = {*SOURCES, "tests", "docs", ".ci"}
    return {span for span in spans if span.split("/")[0] in tops and "/" in span}


def test_every_path_on_the_map_exists() -> None:
    paths = _mapped_paths()
    assert len(paths) > 20
    assert not sorted(path for path in paths if not (ROOT / path).exists())


def test_every_section_of_the_map_says_a_thing_once() -> None:
    for section in (ROOT / "docs/map.md").read_text("utf-8").split("\n## ")[1:]:
        rows = [line.split("|")[1].strip() for line in section.splitlines() if line[:1] == "|"]
        assert len(set(rows)) == len(rows), section.partition("\n")[0]


def test_every_source_file_is_on_the_map() -> None:
    paths = _mapped_paths()
    off = [
        name(path)
        for path in python_files(*SHIPPED)
        if name(path) not in paths
        and not any(name(path).startswith(f"{folder.rstrip('/')}/") for folder in paths)
    ]
    assert not off


def test_every_test_that_a_page_names_exists() -> None:
    """A claim stands beside the test that shows it: ``tests/....py::test_name``."""
    missing = []
    for page in documents():
        for file, function in re.findall(
            r"(tests/[\w/]+\.py)(?:::(\w+))?", page.read_text("utf-8")
        ):
            path = ROOT / file
            if not path.exists() or (
                function
                and not re.search(rf"^\s*def {function}\b", path.read_text("utf-8"), re.MULTILINE)
            ):
                missing.append(f"{name(page)}: {file}::{function}")
    assert not missing


def test_every_link_between_pages_leads_somewhere() -> None:
    broken = [
        f"{name(page)}: {target}"
        for page in documents()
        for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text("utf-8"))
        if "://" not in target and not (page.parent / target).exists()
    ]
    assert not broken
