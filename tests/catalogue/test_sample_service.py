"""A sample is charged before the table is read, written with its description, never overspent."""

from __future__ import annotations

import hashlib
import json
import threading
from typing import TYPE_CHECKING

import pytest
from pyarrow import csv, parquet

from fusion.catalogue import croissant
from fusion.connectors.schemas import read_schema
from fusion.errors import CatalogueInvalid, DataInvalid, GrantRefused, InputInvalid, Refused
from fusion.services import catalogue, datasets, mock
from fusion.services.homes import NodeHome
from tests.catalogue.tables import text, write

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

HALF = 500_000


def _node(node: NodeHome, declared: str = "", kind: str = "csv") -> NodeHome:
    file = write(node.path.parent / f"{node.config.id}-firms.{kind}")
    datasets.add(
        NodeHome.open(node.path), file, dataset="firms", text=declared or text(), origin="d.yaml"
    )
    return NodeHome.open(node.path)


def _left(node: NodeHome) -> tuple[int, int, int]:
    found = catalogue.folder_of(node).get("firms").descriptor
    cap, used = mock.budget_of(node, found)
    left = cap.left(used)
    return left.epsilon_micro, left.runs, left.rows


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_sample_has_the_very_schema_of_its_table(
    nodes: Mapping[str, NodeHome], tmp_path: Path, kind: str
) -> None:
    node = _node(nodes["tax"], kind=kind)
    written = mock.make(node, "firms", epsilon_micro=HALF, rows=200, out=tmp_path)
    assert read_schema(written.sample) == read_schema(node.config.data["firms"])
    # What runs on the sample runs on the table: it is a dataset like any other.
    added = datasets.add(node, written.sample, dataset="trial", text=text(), origin="d.yaml")
    assert added.descriptor.schema_digest == (
        catalogue.folder_of(node).get("firms").descriptor.schema_digest
    )
    # Made-up places are in no province; everything else fits.
    assert {(f.column, f.what) for f in added.findings} == {("region", "invalid")}
    assert written.sample.name.startswith("firms-mock-epsilon-0.5-")
    if kind == "parquet":
        said = parquet.read_schema(written.sample).metadata[b"fusion.mock"].decode()
        assert "epsilon = 0.5 in all" in said


def test_its_description_says_what_it_cost_and_names_its_bytes(
    nodes: Mapping[str, NodeHome], tmp_path: Path
) -> None:
    node = _node(nodes["tax"])
    written = mock.make(node, "firms", epsilon_micro=HALF, rows=50, out=tmp_path)
    said = json.loads(written.description.read_text("utf-8"))
    assert said["fusion:epsilon"] == "0.5"
    assert said["fusion:epsilonPerColumn"] == "0.125"
    assert said["fusion:unitOfPrivacy"] == "enterprise"
    assert "epsilon = 0.5 in all" in said["description"]
    (file,) = said["distribution"]
    assert file["sha256"] == hashlib.sha256(written.sample.read_bytes()).hexdigest()
    assert csv.read_csv(written.sample).num_rows == 50


def test_it_is_charged_and_the_rest_is_told(nodes: Mapping[str, NodeHome], tmp_path: Path) -> None:
    node = _node(nodes["tax"])
    assert _left(node) == (1_000_000, 3, 5000)
    written = mock.make(node, "firms", epsilon_micro=HALF, rows=200, out=tmp_path)
    assert _left(node) == (HALF, 2, 4800)
    assert written.left.epsilon_micro == HALF


@pytest.mark.parametrize(("epsilon", "rows", "code"), [(1_000_001, 10, "G-32"), (10, 5001, "G-33")])
def test_more_than_the_budget_is_refused_and_charges_nothing(
    nodes: Mapping[str, NodeHome], tmp_path: Path, epsilon: int, rows: int, code: str
) -> None:
    node = _node(nodes["tax"])
    with pytest.raises(GrantRefused) as caught:
        mock.make(node, "firms", epsilon_micro=epsilon, rows=rows, out=tmp_path)
    assert caught.value.code == code
    assert _left(node) == (1_000_000, 3, 5000)
    assert not list(tmp_path.glob("*mock*"))


def test_the_fourth_of_three_samples_is_refused(
    nodes: Mapping[str, NodeHome], tmp_path: Path
) -> None:
    node = _node(nodes["tax"])
    for _ in range(3):
        mock.make(node, "firms", epsilon_micro=1000, rows=1, out=tmp_path)
    with pytest.raises(GrantRefused) as caught:
        mock.make(node, "firms", epsilon_micro=1000, rows=1, out=tmp_path)
    assert caught.value.code == "G-31"


def test_many_at_once_spend_no_more_than_there_is(
    nodes: Mapping[str, NodeHome], tmp_path: Path
) -> None:
    node = _node(nodes["tax"], text({"/mock": {"epsilon_micro": 1_000_000, "runs": 100}}))
    done: list[str] = []

    def work() -> None:
        try:
            mock.make(node, "firms", epsilon_micro=300_000, rows=5, out=tmp_path)
            done.append("made")
        except GrantRefused as error:
            done.append(error.code)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(done) == [*["G-32"] * 3, *["made"] * 3]
    assert _left(node)[0] == 100_000


def test_what_goes_wrong_after_the_charge_stays_charged(
    nodes: Mapping[str, NodeHome], tmp_path: Path
) -> None:
    node = _node(nodes["tax"])
    file = node.config.data["firms"]
    lines = file.read_text("utf-8").splitlines()
    cells = lines[5].split(",")
    lines[5] = ",".join([*cells[:2], "many", *cells[3:]])
    file.write_text("\n".join(lines) + "\n", "utf-8")
    with pytest.raises(DataInvalid, match="holds words"):
        mock.make(node, "firms", epsilon_micro=HALF, rows=5, out=tmp_path)
    assert _left(node) == (HALF, 2, 4995)


def test_describing_anew_gives_no_budget_back(
    nodes: Mapping[str, NodeHome], tmp_path: Path
) -> None:
    node = _node(nodes["tax"])
    mock.make(node, "firms", epsilon_micro=1_000_000, rows=5, out=tmp_path)
    datasets.remove(node, "firms")
    node = _node(node)
    with pytest.raises(GrantRefused):
        mock.make(node, "firms", epsilon_micro=1000, rows=5, out=tmp_path)
    more = {"epsilon_micro": 9_000_000, "runs": 3, "rows": 5000}
    node = _node(node, text({"/mock": more}))
    with pytest.raises(Refused, match="stays so"):
        mock.make(node, "firms", epsilon_micro=1000, rows=5, out=tmp_path)


def test_a_table_that_has_changed_is_not_sampled(
    nodes: Mapping[str, NodeHome], tmp_path: Path
) -> None:
    node = _node(nodes["tax"])
    file = node.config.data["firms"]
    file.write_text(file.read_text("utf-8").replace("turnover", "revenue", 1), "utf-8")
    with pytest.raises(CatalogueInvalid, match="no longer those"):
        mock.make(node, "firms", epsilon_micro=HALF, rows=5, out=tmp_path)
    assert _left(node) == (1_000_000, 3, 5000)


def test_a_folder_that_is_not_there_is_refused_before_it_costs(
    nodes: Mapping[str, NodeHome], tmp_path: Path
) -> None:
    node = _node(nodes["tax"])
    with pytest.raises(InputInvalid, match="no folder"):
        mock.make(node, "firms", epsilon_micro=HALF, rows=5, out=tmp_path / "none")
    assert _left(node) == (1_000_000, 3, 5000)


@pytest.mark.parametrize(
    ("written", "micro"), [("1", 1_000_000), ("0.5", 500_000), ("0.000001", 1), ("2.50", 2_500_000)]
)
def test_an_epsilon_is_read_exactly(written: str, micro: int) -> None:
    assert mock.epsilon_of(written) == micro
    assert mock.epsilon_of(croissant.decimal(micro)) == micro


@pytest.mark.parametrize("written", ["", "0", "-1", "nan", "inf", "0.0000001", "one", "1e-7"])
def test_what_is_no_epsilon(written: str) -> None:
    with pytest.raises(InputInvalid):
        mock.epsilon_of(written)
