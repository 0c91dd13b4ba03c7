"""Python jobs from node to node over the real port: reviewed, charged, run, released, logged."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING

import grpc.aio
import pytest

from fusion.crypto.signing import SigningKey
from fusion.errors import InputInvalid, LedgerBroken, PartyFailed, PythonRefused, VerificationFailed
from fusion.grants.approval import sign_verdict
from fusion.grants.python_job import Column, Returns
from fusion.grants.replay import Decisions
from fusion.ledger import entry as entries
from fusion.ledger.entry import decode
from fusion.ledger.verify import Expectations
from fusion.services import grants, python_jobs, python_review, querying
from fusion.services.audit import audit_whole
from fusion.services.homes import NodeHome
from fusion.services.ledger import Book
from fusion.services.python_messages import MAX_ASKED_BYTES, Table
from fusion.services.python_shelf import MAX_WAITING, Shelf
from fusion.services.query_port import PYTHON
from sandbox.python_tables import check_fits, check_mode
from sandbox.reading import parse_policy
from tests.queries.python_world import BY_REGION, OWN_CELLS, TOTAL, Jobs, grant
from tests.queries.world import OWNER, POLICY

if TYPE_CHECKING:
    from tests.queries.world import Up


@pytest.fixture(scope="module")
def jobs(up: Up) -> Jobs:
    grant(up, "jobs", runs=60)
    return Jobs(up, "jobs")


def test_a_job_is_reviewed_run_and_its_people_are_counted_by_the_node(up: Up) -> None:
    grant(up, "sums")
    jobs = Jobs(up, "sums")
    job = jobs.submit(BY_REGION, note="income by region")
    # Nothing runs by itself, and nothing before its owner has said so.
    assert jobs.refused(job).code == "P-02"
    assert jobs.runs(job) == []
    jobs.approve(job, runs=2)
    table = jobs.table(job)
    assert table.columns == ["region", "n", "income"]
    assert [row[:2] for row in table.rows] == [
        [name, 300] for name in ("east", "north", "south", "west")
    ]
    # Again the same: its cells were released before, and count once.
    assert jobs.table(job).rows == table.rows
    assert jobs.refused(job).code == "P-05"
    (left,) = querying.budget(up.analyst, f"{OWNER}/sums")
    assert (left.runs, left.rows) == (18, 1980)

    # The owner's cells: another job, and a query, may be about the same.
    other = jobs.submit(f"{BY_REGION}# corrected\n")
    jobs.approve(other)
    assert jobs.table(other).rows == table.rows
    query = "select region, count(*) as n, avg(income) as mean from persons group by region"
    assert sorted(up.ask(query, dataset="sums").rows) == sorted(table.rows)


def test_what_differs_by_few_from_an_earlier_table_is_held_back(up: Up) -> None:
    grant(up, "rarer")
    jobs = Jobs(up, "rarer")
    job = jobs.submit(BY_REGION)
    jobs.approve(job)
    assert len(jobs.table(job).rows) == 4
    # Without the people who are 20 years old: ten or fewer a region.
    less = OWN_CELLS.replace('["region", "income"]', '["region", "income", "age"]').replace(
        'persons = banyan.table("persons")\n',
        "import pyarrow.compute as pc\n"
        'persons = banyan.table("persons")\n'
        'persons = persons.filter(pc.not_equal(persons["age"], 20))\n',
    )
    job = jobs.submit(less)
    jobs.approve(job)
    table = jobs.table(job)
    assert table.rows == []
    assert "earlier result" in table.notes[0].message


def test_a_changed_script_is_another_job(jobs: Jobs) -> None:
    job = jobs.submit(BY_REGION)
    jobs.approve(job)
    changed = jobs.submit(BY_REGION.replace("import banyan\n", "import banyan  # changed\n"))
    assert changed != job
    assert jobs.refused(changed).code == "P-02"
    before, diff = python_review.difference(
        jobs.up.world.owner, python_review.found(jobs.up.world.owner, changed[:12])
    )
    assert before == job
    assert "-import banyan" in diff
    assert "+import banyan  # changed" in diff
    # And the same script for another purpose, or with another declaration, is one too.
    assert jobs.submit(BY_REGION, purpose="dpv:PublicPolicyMaking") != job
    assert jobs.submit(BY_REGION) == job


def test_the_owner_has_the_last_word(jobs: Jobs) -> None:
    job = jobs.submit(f"{BY_REGION}# judged\n")
    jobs.approve(job, runs=5)
    python_review.judge(jobs.up.world.owner, job, why="income is none of their business")
    refused = jobs.refused(job)
    assert (refused.code, refused.exit_code) == ("P-03", 4)
    assert "none of their business" in refused.message
    # The same word again within a second is a word of its own, in the log too.
    jobs.approve(job, runs=5)
    python_review.judge(jobs.up.world.owner, job, why="income is none of their business")
    assert jobs.refused(job).code == "P-03"
    jobs.approve(job, clock=_Then())
    assert jobs.refused(job).code == "P-04"
    assert jobs.runs(job) == []


class _Then:
    """Three days ago."""

    def now(self) -> dt.datetime:
        return dt.datetime.now(dt.UTC) - dt.timedelta(days=3)

    def monotonic(self) -> float:
        return 0.0


def test_a_verdict_of_another_job_is_no_verdict(jobs: Jobs) -> None:
    good, other = jobs.submit(f"{BY_REGION}# good\n"), jobs.submit(f"{BY_REGION}# other\n")
    jobs.approve(good, runs=9)
    folder = jobs.up.world.owner.path / "python/jobs"
    try:
        (folder / other / "verdict.json").write_bytes((folder / good / "verdict.json").read_bytes())
        with pytest.raises(VerificationFailed, match="another job"):
            Shelf(jobs.up.world.owner).job(other)
        assert jobs.refused(other).code == "F-020"
    finally:
        (folder / other / "verdict.json").unlink()
    # Edited on the owner's disk after it was approved, it is no job at all.
    script = folder / good / "script.py"
    text = script.read_text("utf-8")
    script.write_text(text.replace("income", "region"), "utf-8")
    try:
        assert jobs.refused(good).code == "F-020"
    finally:
        script.write_text(text, "utf-8")
    assert jobs.runs(good) == []


def test_nobody_else_runs_it(jobs: Jobs) -> None:
    up = jobs.up
    job = jobs.submit(BY_REGION)
    node = up.world.other
    sent = up.world.analyst.path / "python/sent" / f"{job}.json"
    (node.path / "python/sent").mkdir(parents=True, exist_ok=True)
    (node.path / "python/sent" / sent.name).write_bytes(sent.read_bytes())
    with pytest.raises(PartyFailed) as found:
        python_jobs.run(up.other, node, job, seconds=60)
    assert found.value.code == "G-00"
    with pytest.raises(PartyFailed) as found:
        jobs.submit(BY_REGION, connection=up.other)
    assert found.value.code == "G-00"


def test_a_grant_for_tables_permits_no_python(up: Up) -> None:
    up.world.grant("moving")
    jobs = Jobs(up, "moving")
    job = jobs.submit(BY_REGION)
    jobs.approve(job)
    refused = jobs.refused(job)
    assert (refused.code, refused.exit_code) == ("G-26", 4)
    # Neither does one that lists another job.
    grant(up, "moving", code=["a" * 64])
    assert jobs.refused(job).code == "G-27"
    assert jobs.runs(job) == []


def test_what_can_not_be_reviewed_is_not_taken(jobs: Jobs) -> None:
    returns = Returns(
        form="table", reads={"persons": ("income",)}, columns=(Column(name="n", kind="integer"),)
    )
    owner = f"{OWNER}/jobs"
    up = jobs.up
    for bad in (b"", b"\xff", b"x" * (256 * 1024 + 1), b"a\r\n", "a = '\u202e'".encode()):
        with pytest.raises(InputInvalid):
            python_jobs.submit(
                up.analyst, up.world.analyst, owner, bad, returns, purpose="dpv:PublicBenefit"
            )
    for reads in ({"nowhere": ()}, {"persons": ("nothing",)}):
        with pytest.raises(PartyFailed) as found:
            jobs.submit("1", returns.model_copy(update={"reads": reads}))
        assert found.value.code == "P-08"
    many = returns.model_copy(update={"max_rows": 5000})
    policy = parse_policy(f"{POLICY}release: {{rows: 100}}\n", "policy.yaml")
    with pytest.raises(PythonRefused, match="100 rows"):
        check_fits(policy, many)
    # Whatever a hostile node sends in place of a message, the owner's answers in the closed form.
    call = up.analyst.channel(OWNER).unary_unary(PYTHON)

    async def send(data: bytes) -> bytes:
        answer: bytes = await call(data, timeout=60)
        return answer

    good = b'{"collect":null,"run":null,"schema":"fusion.python/1","seconds":60,"submit":%s}'
    rtl = {"dataset": "jobs", "note": "", "purpose": "p", "returns": returns.document(),
           "script": "a = '\u202e'"}  # fmt: skip
    packed = json.dumps(rtl, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    for data in (b"", b"\xff\xfe", b"[" * 9999, good % b"null", good % b"{}", good % packed):
        answer = json.loads(up.analyst.link.run(send(data), 61))
        assert answer["refusal"]["code"] == "F-503"
    with pytest.raises(grpc.aio.AioRpcError):
        up.analyst.link.run(send(b" " * (MAX_ASKED_BYTES + 1)), 61)


def test_only_so_many_wait(jobs: Jobs) -> None:
    shelf = Shelf(jobs.up.world.owner)
    codes = set()
    for number in range(MAX_WAITING + 1):
        try:
            jobs.submit(f"{TOTAL}# {number}\n")
        except PartyFailed as error:
            codes.add(error.code)
    assert codes == {"P-07"}
    waiting = [each for each in shelf.jobs() if each.state == "waiting"]
    assert len([each for each in waiting if each.job.assignee == "bank"]) == MAX_WAITING
    for each in waiting:
        python_review.judge(jobs.up.world.owner, each.job.digest, why="one of many")


HOSTILE = {
    "crash": "raise ValueError(banyan.table('persons').slice(0, 1).to_pylist())",
    "code": "import os; os._exit(banyan.table('persons')['income'][0].as_py() % 256)",
    "nothing": "",
    "huge": "import sys\nwhile True: sys.stdout.write('x' * 65536)",
    "large": "banyan.people({'person': list(range(10**6)), 'region': ['north'] * 10**6, "
    "'income': [1.0] * 10**6})",
    "table": "banyan.result({'n': [1]})",
    "foreign": "banyan.people({'person': [7, 1200], 'region': ['north'] * 2, 'income': [1, 2]})",
    "twice": "banyan.people({'person': [7, 7], 'region': ['north'] * 2, 'income': [1, 2]})",
    "key": "banyan.people({'person': [7], 'region': ['secret'], 'income': [1]})",
    "more": "banyan.people({'person': [7], 'region': ['north'], 'income': [1], 'more': [1]})",
    "exit": "raise SystemExit(3)",
}


def test_however_a_script_fails_there_is_one_text_and_the_owner_alone_sees_why(
    jobs: Jobs,
) -> None:
    head = OWN_CELLS.partition("persons = banyan")[0]

    def run(name: str) -> tuple[str, int, str, str]:
        job = jobs.submit(f"{head}{HOSTILE[name]}\n")
        jobs.approve(job)
        failed = jobs.refused(job)
        (record,) = jobs.runs(job)
        assert record.state == "failed", name
        assert record.milliseconds or record.ending, name
        # Raised with a row, which its owner sees.
        assert (name == "crash") == ("'income': " in jobs.log(job))
        return failed.code, failed.exit_code, failed.message, failed.hint

    with ThreadPoolExecutor(3) as pool:
        said = set(pool.map(run, HOSTILE))
    assert len(said) == 1
    assert next(iter(said))[0] == "F-020"
    # Each was charged, and is.
    (left,) = querying.budget(jobs.up.analyst, f"{OWNER}/jobs")
    assert left.runs <= 60 - len(HOSTILE)


def test_one_approved_run_is_one_however_many_ask_at_once(jobs: Jobs) -> None:
    job = jobs.submit(f"{OWN_CELLS}# at once\n")
    jobs.approve(job)

    def run(_: int) -> str:
        try:
            return jobs.table(job).job
        except PartyFailed as error:
            return error.code

    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(run, range(4))) == sorted([job, *["P-05"] * 3])


def test_a_script_that_does_not_end_is_ended(jobs: Jobs) -> None:
    head = BY_REGION.partition("persons = banyan")[0]
    # A machine that is busy with others for a moment is given another one; a fault comes each time.
    for left in reversed(range(5)):
        job = jobs.submit(f"{head}while True: pass  # {left}\n")
        jobs.approve(job)
        assert jobs.refused(job, seconds=1).code == "F-020"
        (record,) = jobs.runs(job)
        if record.milliseconds < 1600:
            break
        assert left, record.milliseconds


def test_a_run_ends_while_its_tables_are_being_copied(jobs: Jobs) -> None:
    # Reads what no other job here does: a copy of its own, which has to wait for another one.
    script = TOTAL.replace('["region", "income"]', '["sex"]')
    job = jobs.submit(script)
    jobs.approve(job, runs=2, release="checked")
    over = threading.Event()
    jobs.up.service._python._copies._pool.submit(over.wait, 200)
    try:
        began = time.monotonic()
        assert jobs.refused(job, seconds=1).code == "F-020"
        assert time.monotonic() - began < 150
    finally:
        over.set()
    (record,) = jobs.runs(job)
    assert record.state == "failed"
    assert record.why.startswith("WorkCancelled: its tables were still being copied")
    jobs.held(job)


def test_a_script_sees_numbers_of_people_and_no_other_column(jobs: Jobs) -> None:
    probe = TOTAL.replace(
        'banyan.result({"n": [banyan.table("persons").num_rows]})',
        'table = banyan.table("persons")\n'
        "print(table.column_names, sorted(table['person_id'].to_pylist()) == list(range(1200)))\n"
        "print(sorted(banyan.inputs))\n"
        'banyan.result({"n": [table.num_rows]})',
    )
    job = jobs.submit(probe)
    with pytest.raises(InputInvalid):
        jobs.approve(job)
    jobs.approve(job, release="checked")
    jobs.held(job)
    assert jobs.log(job).splitlines()[-2:] == [
        "['person_id', 'income', 'region'] True",
        "['persons']",
    ]


def test_a_table_is_held_until_its_owner_has_looked_at_it(jobs: Jobs) -> None:
    owner = jobs.up.world.owner
    job = jobs.submit(TOTAL)
    jobs.approve(job, runs=2, release="checked")
    run = jobs.held(job)
    # Asked again, it waits, and begins nothing.
    assert jobs.held(job) == run
    record, table = python_review.table_of(owner, run)
    assert table.rows == [[1200]]
    with pytest.raises(InputInvalid, match="not that of the table"):
        python_review.release(owner, run, "0" * 64)
    # What is released is what was shown, or nothing is.
    path = owner.path / "python/jobs" / job / "runs" / run / "table.json"
    shown = path.read_bytes()
    path.write_bytes(shown.replace(b"1200", b"1234"))
    with pytest.raises(VerificationFailed):
        python_review.release(owner, run, record.digest)
    path.write_bytes(shown)
    assert python_review.release(owner, run, record.digest).state == "released"
    got = jobs.run(job)
    assert isinstance(got, Table)
    assert (got.rows, got.run) == ([[1200]], run)
    again = python_jobs.collect(jobs.up.analyst, jobs.up.world.analyst, run)
    assert again == got
    # The next run is another; this one the owner keeps back.
    second = jobs.held(job)
    assert second != run
    python_review.withhold(owner, second, "too fine")
    assert jobs.refused(job).code == "P-09"
    assert jobs.refused(job).code == "P-05"
    with pytest.raises(PartyFailed) as found:
        python_jobs.collect(jobs.up.analyst, jobs.up.world.analyst, second)
    assert found.value.code == "P-09"
    assert "too fine" not in str(found.value)
    with pytest.raises(InputInvalid):
        python_jobs.collect(jobs.up.analyst, jobs.up.world.analyst, "p-" + "0" * 32)


def test_no_table_leaves_by_itself_where_the_policy_asks_for_privacy(jobs: Jobs) -> None:
    budget = "mode: dp\nbudget: {grant_rho_micro: 1000, dataset_rho_micro: 1000}\n"
    policy = parse_policy(POLICY + budget, "policy.yaml")
    job = jobs.submit(f"{BY_REGION}# private\n")
    with pytest.raises(PythonRefused) as found:
        check_mode(policy, jobs.approve(job))
    assert found.value.code == "P-11"
    check_mode(policy, jobs.approve(job, release="checked"))


def test_the_log_has_digests_and_is_audited(jobs: Jobs) -> None:
    home = NodeHome.open(jobs.up.world.owner.path)
    with Book(home) as book:
        bundle = book.bundle()
    found = [decode(data) for data in bundle.entries]
    kinds = [each.kind for each in found]
    for kind in ("python-submitted", "python-judged", "python-run", "python-released"):
        assert kind in kinds
    released = [each for each in found if isinstance(each, entries.PythonReleased)]
    assert {each.checked for each in released} == {True, False}
    runs = {each.digest for each in Shelf(home).runs() if each.state in {"answered", "released"}}
    assert {each.result for each in released} == runs
    whole = b"".join([*bundle.entries, *bundle.attachments.values()])
    assert b"import banyan" not in whole
    assert hashlib.sha256(b"").hexdigest().encode() not in whole
    audit_whole(bundle, Expectations(witnessed=False), ())


def test_an_auditor_reads_the_verdict_itself(jobs: Jobs) -> None:
    owner = jobs.up.world.owner
    job = jobs.submit(f"{BY_REGION}# audited\n")
    jobs.approve(job, runs=3)
    kept = Shelf(owner).job(job)
    assert kept is not None
    assert kept.verdict is not None
    forged = sign_verdict(kept.verdict, SigningKey.generate())
    entry = entries.PythonJudged(
        at="2026-01-01T00:00:00.000Z", organisation="bank", job=job, verdict=kept.verdict_digest,
        approved=True, checked=False, runs=3,
    )  # fmt: skip
    strange = hashlib.sha256(forged).hexdigest()
    papers = {kept.verdict_digest: kept.signed, strange: forged}
    Decisions(OWNER, [owner.roster()], papers).feed(0, entry)
    for changes in (
        {"verdict": strange},
        {"verdict": "0" * 64},
        {"runs": 4},
        {"checked": True},
        {"organisation": "press"},
        {"job": "0" * 64},
    ):
        with pytest.raises(LedgerBroken):
            Decisions(OWNER, [owner.roster()], papers).feed(0, entry.model_copy(update=changes))


def test_a_revocation_holds_for_what_is_held(up: Up) -> None:
    name = grant(up, "moving", runs=3)
    jobs = Jobs(up, "moving")
    job = jobs.submit(TOTAL)
    jobs.approve(job, release="checked")
    run = jobs.held(job)
    record, _ = python_review.table_of(up.world.owner, run)
    python_review.release(up.world.owner, run, record.digest)
    grants.revoke(up.world.owner, name, "no longer needed")
    with pytest.raises(PartyFailed) as found:
        python_jobs.collect(up.analyst, up.world.analyst, run)
    assert found.value.code == "G-02"


class _Late:
    """When every grant here is over."""

    def now(self) -> dt.datetime:
        return dt.datetime(2100, 1, 1, tzinfo=dt.UTC)

    def monotonic(self) -> float:
        return 0.0


def test_the_end_of_a_grant_holds_for_what_is_held(up: Up, monkeypatch: pytest.MonkeyPatch) -> None:
    grant(up, "moving", runs=4)
    jobs = Jobs(up, "moving")
    job = jobs.submit(f"{TOTAL}# until it ends\n")
    jobs.approve(job, release="checked")
    run = jobs.held(job)
    record, _ = python_review.table_of(up.world.owner, run)
    python_review.release(up.world.owner, run, record.digest)
    service = up.service._python
    with monkeypatch.context() as patched:
        patched.setattr(service, "_at", replace(service._at, clock=_Late()))
        with pytest.raises(PartyFailed) as found:
            python_jobs.collect(up.analyst, up.world.analyst, run)
    assert found.value.code == "G-04"
    assert "2100-01-01T00:00:00Z" in found.value.message
    assert "a later end" in found.value.hint
    # What was refused does not count as collected.
    assert isinstance(python_jobs.collect(up.analyst, up.world.analyst, run), Table)
