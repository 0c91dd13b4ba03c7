"""What the documentation tests look at: the repository's files, as paths and outlines."""

from __future__ import annotations

import ast
import gc
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = ("fusion", "federated", "sandbox")
SOURCES = (*SHIPPED, "examples", "benchmarks")


def python_files(*folders: str) -> list[Path]:
    """Return the Python files below these folders of the repository, sorted."""
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


@dataclass(frozen=True, slots=True)
class Outline:
    """What is looked at of a file.

    Attributes:
        documented: Whether the module says what it is for.
        functions: Line, name and number of lines of each function.
        imports: Full names of all modules that it imports, wherever the import stands.
    """

    documented: bool
    functions: tuple[tuple[int, str, int], ...]
    imports: frozenset[str]


@cache
def outline(path: Path) -> Outline:
    """Parse a file; its tree is not kept, since the collector would look through it for ever."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        return _outline(ast.parse(path.read_text("utf-8"), str(path)))
    finally:
        if collecting:
            gc.enable()


def _outline(tree: ast.Module) -> Outline:
    functions: list[tuple[int, str, int]] = []
    imports: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            functions.append((node.lineno, node.name, lines))
        elif isinstance(node, ast.Import):
            imports.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            imports.add(node.module)
    return Outline(bool(ast.get_docstring(tree)), tuple(functions), frozenset(imports))


def name(path: Path) -> str:
    """Return the path as the documentation writes it."""
    return path.relative_to(ROOT).as_posix()


def documents() -> list[Path]:
    """Return every Markdown page of the repository, sorted."""
    return sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *_readmes()])


def _readmes() -> list[Path]:
    return [path for folder in ("examples", "benchmarks") for path in (ROOT / folder).rglob("*.md")]


def table_of(page: str, heading: str) -> dict[str, list[str]]:
    """Return the rows of the table below a heading, by the key in their first cell."""
    body = page.split(f"\n### {heading}\n")[1].split("\n#", maxsplit=1)[0]
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in body.splitlines()
        if line.startswith("| `")
    ]
    return {row[0].strip("`"): row for row in rows}


def imported_modules(path: Path) -> frozenset[str]:
    """Return the full names of all modules that a file imports, wherever the import stands."""
    return outline(path).imports


_FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"`([^`\n]+)`")


def shown_commands(path: Path) -> list[str]:
    """Return the command lines that a page shows in shell blocks and in code spans."""
    text = path.read_text("utf-8")
    lines: list[str] = []
    for match in _FENCE.finditer(text):
        if match[1] in {"sh", "console", "bash"}:
            body = match[2].replace("\\\n", " ")
            lines.extend(line.strip().removeprefix("$ ") for line in body.splitlines())
    lines.extend(span.strip() for span in _INLINE.findall(_FENCE.sub("", text)))
    return [line.split("  #")[0].strip() for line in lines if line and not line.startswith("#")]


def shown_studies() -> list[tuple[str, str]]:
    """Return page and text of every whole study of several parties that a page shows."""
    return [
        (name(page), match[2])
        for page in documents()
        for match in _FENCE.finditer(page.read_text("utf-8"))
        if match[1] == "toml" and "[[party]]" in match[2]
    ]
