"""The benchmark of encryption runs, on next to nothing, and writes the document it promises."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest

from benchmarks import encryption
from benchmarks.table import table
from benchmarks.timing import available_cores, cores, measure, output_kept_clean
from benchmarks.workload import STEPS, Workload
from fusion.crypto.paillier.engines.selection import current
from tests.engine_choice import running

TINY = ["--parameters", "130", "--clients", "3", "--seconds", "0.01"]
PROMISED = {
    "system", "engine", "bits", "security_bits", "randomiser", "encrypt_s", "aggregate_s",
    "decrypt_s", "partial_s", "combine_s", "bytes_per_parameter", "max_abs_error", "extrapolated",
    "threads",
}  # fmt: skip


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    options = encryption.read_options([*TINY, "--engines", "gmp,none", "--memory", "--json"])
    made: dict[str, Any] = json.loads(json.dumps(encryption.document(options)))
    return made


def test_the_document_is_of_the_schema(document: dict[str, Any]) -> None:
    assert document["schema"] == "fusion.bench-encryption/1"
    assert document["results"]
    for entry in document["results"]:
        assert entry.keys() >= PROMISED
        assert entry["extrapolated"] == bool(entry["extrapolated_steps"])
        assert all(entry[f"{step}_s"] is not None for step in ("encrypt", "aggregate", "decrypt"))
        assert entry["wall_s"].keys() == entry["measured"].keys()


def test_standard_output_is_the_document_alone(capfd: pytest.CaptureFixture[str]) -> None:
    encryption.main([*TINY, "--engines", "none", "--no-peers", "--json"])
    written = capfd.readouterr()
    assert json.loads(written.out)["results"] == []
    with output_kept_clean():
        os.write(1, b"chatter of a library")
    written = capfd.readouterr()
    assert (written.out, written.err) == ("", "chatter of a library")


def test_ours_is_there_with_each_randomiser_and_degree(document: dict[str, Any]) -> None:
    ours = [entry for entry in document["results"] if entry["system"] == "banyan"]
    assert {(entry["engine"], entry["randomiser"], entry["degree"]) for entry in ours} == {
        ("gmp", "exact", 1),
        ("gmp", "djn-half", 1),
        ("gmp", "exact", 2),
        ("gmp", "djn-half", 2),
    }
    for entry in ours:
        assert all(entry[f"{step}_s"] > 0 for step in STEPS)
        assert 0 < entry["max_abs_error"] < 2**-23
        assert entry["security_bits"] == 112


def test_phe_is_there_twice(document: dict[str, Any]) -> None:
    systems = [entry["system"] for entry in document["results"]]
    assert systems.count("phe") == systems.count("phe, packed as ours") == 1


def test_what_is_missing_is_named_with_the_way_to_get_it(document: dict[str, Any]) -> None:
    there = " ".join(entry["system"] for entry in document["results"]).lower()
    missing = {gone["system"]: gone["reason"] for gone in document["missing"]}
    assert "none" in missing["banyan none"]
    for peer in ("sf-heu", "tenseal"):
        assert (peer in there) != (peer in missing)
        assert peer in there or "pip install -r benchmarks/peers.txt" in missing[peer]


def test_the_table_has_a_line_for_everything(document: dict[str, Any]) -> None:
    text = table(document)
    for entry in document["results"]:
        assert entry["system"] in text
    for gone in document["missing"]:
        assert f"left out: {gone['system']}" in text
    assert "times the ciphertext" in text
    assert "test key" in text


def test_what_is_measured_on_a_part_is_marked_so() -> None:
    done: list[int] = []
    whole = measure(done.append, 100, least=10, budget=1.0)
    assert done[-1] == whole.measured == 100
    assert not whole.extrapolated

    def slow(count: int) -> None:
        sum(range(200_000 * count))

    part = measure(slow, 10_000, least=2, budget=0.01)
    assert part.extrapolated
    assert part.measured < part.total == 10_000


def test_a_part_of_the_cores_is_a_part_of_the_cores() -> None:
    before = available_cores()
    with cores(1):
        assert available_cores() == 1
    assert available_cores() == before


def test_the_numbers_are_the_same_on_every_run() -> None:
    one, other = (Workload(2048, 50, 2, 1.0) for _ in range(2))
    assert one.mean.tolist() == other.mean.tolist()
    assert one.quantisation_error(1) == other.quantisation_error(2)


def test_an_engine_holds_for_as_long_as_it_was_asked_for() -> None:
    with running("gmp") as engine:
        assert current() is engine
    assert current().name
