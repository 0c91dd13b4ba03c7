"""Every command that a page shows exists, with the options and arguments it is shown with.

And each is run by a test, or stands here with the reason why not.
"""

from __future__ import annotations

import importlib.util
import re
import shlex
from typing import TYPE_CHECKING

import click
import pytest

from benchmarks import encryption
from tests.docs.generate import command_tree
from tests.docs.sources import ROOT, documents, name, shown_commands

if TYPE_CHECKING:
    from collections.abc import Iterator

WALKED = {"README.md", "README.zh-CN.md", "docs/deploy.md"}
"""Pages whose calls of ``fusion`` are run in their order, by ``tests/deployment/walk.py``."""
RUN = {
    r"\./dev demo( --model mlp| --rounds 20| --json| --keep DIR)?": "tests/deployment/test_demo.py",
    r"fusion demo": "tests/deployment/test_demo.py",
    r"fusion train --json": "tests/deployment/walk.py",
    r"fusion train vertical\.toml --home NODE( --json)?": "tests/deployment/test_deployment.py",
    r"fusion train STUDY\.toml --home NODE": "tests/deployment/test_deployment.py",
    r"fusion train --stop JOB --home NODE": "tests/aligning/test_cli.py",
    r"fusion order sign STUDY\.toml --home NODE --out FILE": "tests/deployment/walk.py",
    r"fusion train STUDY\.toml --hub DIR --order FILE": "tests/deployment/walk.py",
    r"fusion --version": "tests/cli/test_app.py",
    r"fusion (audit BUNDLE|ledger export --out FILE)": "tests/cli/test_ledger.py",
    r"fusion audit BUNDLE --tsa-certificate FILE": "tests/cli/test_stamp.py",
    r"python -m benchmarks\.(exchange|encryption( .*)?)": "tests/deployment/test_benchmarks.py",
    r"python -m benchmarks\.(kernels|contributions)": "tests/deployment/test_benchmarks.py",
    r"python -m benchmarks\.(ledger|isolation|evidence)": "tests/deployment/test_benchmarks.py",
    r"fusion node ping --to ID": "tests/deployment/test_deployment.py",
    r"python -m benchmarks\.relay": "tests/deployment/test_benchmarks.py",
    r"python -m benchmarks\.(noise|private_training)": "tests/privacy/test_utility.py",
    r"python -m benchmarks\.history(_attacks)?": "tests/deployment/test_benchmarks.py",
    r"python -m benchmarks\.decisions": "tests/grants/test_decide.py",
    r"fusion grant .*": "tests/cli/test_grant.py",
    r"fusion data .*": "tests/cli/test_data.py",
    r"fusion policy .*": "tests/cli/test_policy.py",
    r"fusion query .*": "tests/queries/test_cli.py",
    r"fusion python .*": "tests/queries/test_python_cli.py",
    r"fusion (align check|simulate align) .*": "tests/cli/test_align.py",
    r"fusion align( run)? --(study|follow|stop) .*": "tests/aligning/test_cli.py",
    r"python -m benchmarks\.alignment.*": "tests/benchmarks/test_alignment.py",
    r"python -m benchmarks\.query.*": "tests/benchmarks/test_query.py",
    r"fusion simulate vertical.*": "tests/cli/test_simulate_vertical.py",
    r"fusion (model|score) .*": "tests/models/test_cli.py",
    r"python -m benchmarks\.scoring.*": "tests/benchmarks/test_scoring.py",
    r"python -m benchmarks\.leakage.*": "tests/benchmarks/test_leakage.py",
    r"python -m benchmarks\.vertical( .*)?": "tests/benchmarks/test_vertical.py",
    r"python -m benchmarks\.vertical_tables.*": "tests/benchmarks/test_vertical_tables.py",
    r"python -m examples\.restricted_query\.make_data .*": "tests/cli/test_policy.py",
}
"""What is run elsewhere, as it is shown or with fewer rounds or exchanges."""
NOT_RUN = {
    r"\./dev (setup|lock)": "installs packages, or asks an index for them",
    r"(python3?|/opt/banyan/bin/python) -m (pip .*|venv /opt/banyan)": "installs packages",
    r"\./dev (test|check)": "runs the tests, this one among them",
    r"\./dev spark( -m pytest .*)?": "installs PySpark; it runs tests/sandbox/test_spark.py",
    r"python -m benchmarks\.spark_corpus": "needs PySpark: `./dev spark` runs it",
    r"\./dev (fmt|docs)": "writes into the checkout",
    r"\./dev": "the name of the script",
    r"python": "the name of a kind of output",
    r"python -m examples\.adult\.make_partitions .*": "reads the original data set, not shipped",
}
"""What no test runs, and why."""
GENERATED = {"docs/cli.md", "docs/errors.md"}


def _shown(program: str) -> Iterator[tuple[str, str]]:
    """Yield page and command line for each command of ``program`` that a page shows."""
    for page in documents():
        if name(page) in GENERATED:
            continue
        for line in shown_commands(page):
            if line.split(" ")[0] == program:
                yield name(page), line


def check(line: str) -> None:
    """Parse ``line`` as the command line would.

    Raises:
        click.UsageError: It would be refused: unknown verb or option, missing or extra argument.
    """
    words = shlex.split(line.replace("[", "").replace("]", "").replace(" ...", ""))[1:]
    command: click.Command = command_tree()
    context = click.Context(command, info_name="fusion")
    while isinstance(command, click.Group):
        # Global options stand before the verb, which some groups put there themselves.
        words = getattr(command, "with_verb", list)(words)
        _, words, _ = command.make_parser(context).parse_args(words)
        if not words:
            return  # the group alone prints its help
        _, child, words = command.resolve_command(context, list(words))
        if child is None:
            message = f"no such command in {line!r}"
            raise click.UsageError(message)
        context = click.Context(child, info_name=child.name, parent=context)
        command = child
    values, extra, _ = command.make_parser(context).parse_args(list(words))
    if extra:
        message = f"unexpected {extra} in {line!r}"
        raise click.UsageError(message)
    if "--help" not in words:
        _check_required(command, values, line)


def _check_required(command: click.Command, values: dict[str, object], line: str) -> None:
    """Refuse a call without a required parameter, or with a choice that is not one."""
    for parameter in command.params:
        value = values.get(parameter.name or "")
        given = isinstance(value, str | list | tuple) and len(value) > 0
        if parameter.required and not given and not isinstance(value, bool):
            message = f"{parameter.name} is missing in {line!r}"
            raise click.UsageError(message)
        if isinstance(parameter.type, click.Choice) and isinstance(value, str):
            for choice in value.split("|"):
                parameter.type.convert(choice, parameter, None)


@pytest.mark.parametrize(("page", "line"), sorted(set(_shown("fusion"))))
def test_a_fusion_command_parses(page: str, line: str) -> None:
    try:
        check(line)
    except click.UsageError as error:
        pytest.fail(f"{page}: {error.format_message()}")


@pytest.mark.parametrize(
    "line",
    ["fusion nonsense", "fusion demo --nonsense", "fusion hub admit", "fusion demo --model tree"],
)
def test_a_wrong_command_does_not_parse(line: str) -> None:
    with pytest.raises(click.UsageError):
        check(line)


def test_a_dev_command_exists() -> None:
    script = (ROOT / "dev").read_text("utf-8")
    verbs = set(re.findall(r"^  ([a-z]+)\)", script, re.MULTILINE))
    unknown = [
        f"{page}: {line}"
        for page, line in _shown("./dev")
        if (words := line.split())[1:] and words[1] not in verbs
    ]
    assert not unknown


def test_a_python_module_exists() -> None:
    missing = [
        f"{page}: {line}"
        for page, line in [*_shown("python"), *_shown("python3")]
        if (match := re.match(r"python3? -m ([\w.]+)", line)) and not _importable(match[1])
    ]
    assert not missing


def test_a_command_of_the_benchmark_parses() -> None:
    shown = [
        line
        for _, line in _shown("python")
        if line.startswith("python -m benchmarks.encryption") and "[" not in line
    ]
    assert len(shown) > 2
    for line in shown:
        encryption.read_options(shlex.split(line)[3:])


def _importable(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def test_the_readme_shows_the_two_commands() -> None:
    for page in ("README.md", "README.zh-CN.md"):
        lines = shown_commands(ROOT / page)
        assert "./dev demo" in lines
        assert "./dev test" in lines


_PROGRAMS = ("fusion", "./dev", "python", "python3", "/opt/banyan/bin/python")


def _lines() -> list[tuple[str, str]]:
    return sorted({shown for program in _PROGRAMS for shown in _shown(program)})


def _is_name(line: str) -> bool:
    """Whether a line only names a verb, as a text does that speaks of it."""
    return line.startswith("fusion") and not re.search(r" [^a-z]|[^a-z ]", line)


def test_every_command_is_run_or_has_a_reason_not_to_be() -> None:
    patterns = [*RUN, *NOT_RUN]
    without = [
        f"{page}: {line}"
        for page, line in _lines()
        if not (page in WALKED and line.startswith("fusion "))
        and not _is_name(line)
        and not any(re.fullmatch(pattern, line) for pattern in patterns)
    ]
    assert not without


def test_no_reason_is_left_over() -> None:
    lines = [line for _, line in _lines()]
    left = [p for p in (*RUN, *NOT_RUN) if not any(re.fullmatch(p, line) for line in lines)]
    assert not left
    assert all((ROOT / file).exists() for file in RUN.values())
