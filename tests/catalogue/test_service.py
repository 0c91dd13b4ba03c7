"""The verbs over real folders: describing, registering, publishing, taking in; and the refusals."""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING

import pytest

from fusion.catalogue import signing
from fusion.catalogue.descriptor import schema_digest
from fusion.errors import (
    CatalogueInvalid,
    FusionError,
    InputInvalid,
    MessageInvalid,
    Refused,
    SignatureInvalid,
    UnknownOrganisation,
    VerificationFailed,
)
from fusion.services import catalogue, datasets, grants, rosters, rotation
from fusion.services.enrolment import take_roster
from fusion.services.homes import NodeHome
from fusion.wire import envelope
from tests.catalogue.descriptors import descriptor
from tests.catalogue.tables import text, write

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from fusion.services.datasets import Added
    from fusion.services.homes import HubHome


def _add(node: NodeHome, dataset: str = "firms", declared: str = "", kind: str = "csv") -> Added:
    file = write(node.path.parent / f"{node.config.id}-{dataset}.{kind}")
    return datasets.add(
        NodeHome.open(node.path), file, dataset=dataset, text=declared or text(), origin="d.yaml"
    )


def _published(node: NodeHome, dataset: str = "firms") -> bytes:
    return datasets.publish(node, dataset).envelope


# ----------------------------------------------------------------------------- at the owner


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_file_becomes_a_dataset_that_grants_can_name(
    nodes: Mapping[str, NodeHome], kind: str
) -> None:
    added = _add(nodes["tax"], kind=kind)
    assert added.findings == ()
    assert added.registered
    node = NodeHome.open(nodes["tax"].path)
    # What a grant names is the digest of the very same schema.
    assert schema_digest(grants.schema_of(node, "firms")) == added.descriptor.schema_digest
    assert added.descriptor.rows == "1000 to 9999"
    kept = catalogue.folder_of(node).get("firms")
    assert kept.descriptor == added.descriptor


def test_only_the_descriptor_leaves_and_holds_no_cell(nodes: Mapping[str, NodeHome]) -> None:
    added = _add(nodes["tax"])
    file = NodeHome.open(nodes["tax"].path).config.data["firms"]
    cells = {line.split(",")[0].strip('"') for line in file.read_text("utf-8").splitlines()[1:]}
    said = added.descriptor.canonical().decode()
    assert not any(cell in said for cell in cells)
    assert "1200" not in said
    assert str(file) not in said


def test_a_node_describes_before_it_is_admitted(nodes: Mapping[str, NodeHome]) -> None:
    node = nodes["tax"]
    for file in (node.roster_file, node.trust_file):
        file.unlink()
    _add(node)
    assert [s.descriptor.name for s in catalogue.folder_of(node).all()] == ["tax/firms"]


def test_describing_again_is_a_new_revision(nodes: Mapping[str, NodeHome]) -> None:
    _add(nodes["tax"])
    again = _add(nodes["tax"], declared=text({"/update_period": "daily"}))
    assert again.descriptor.revision == 2
    assert again.descriptor.update_period == "daily"


def test_what_does_not_fit_is_told_to_the_owner(nodes: Mapping[str, NodeHome]) -> None:
    node = nodes["tax"]
    file = node.path.parent / "bad.csv"
    good = write(node.path.parent / "good.csv", rows=10).read_text("utf-8").splitlines()
    good[3] = good[3].replace("99", "98", 1)
    file.write_text("\n".join(good).replace('"shop"', '"kiosk"') + "\n", "utf-8")
    added = datasets.add(
        NodeHome.open(node.path), file, dataset="firms", text=text(), origin="d.yaml"
    )
    found = {(f.column, f.what): (f.count, f.looked_at) for f in added.findings}
    assert found == {("uscc", "invalid"): (1, 10), ("kind", "outside"): (5, 10)}


def test_entities_can_be_named_beside_the_declaration(nodes: Mapping[str, NodeHome]) -> None:
    node, file = nodes["tax"], nodes["tax"].path.parent / "f.csv"
    write(file, rows=10)
    declared = text({"/columns/uscc": {}})
    added = datasets.add(
        node, file, dataset="firms", text=declared, origin="d", entities={"uscc": "enterprise"}
    )
    key = added.descriptor.columns[0].key
    assert key is not None
    assert (key.entity, key.scheme) == ("enterprise", "gb32100")
    with pytest.raises(CatalogueInvalid, match="not both"):
        datasets.add(
            node, file, dataset="firms", text=text(), origin="d", entities={"uscc": "matter"}
        )


@pytest.mark.parametrize("dataset", ["", "..", "a/b", "../x", "Firms", "firms\n", "f" * 64])
def test_a_name_that_is_none_is_refused(nodes: Mapping[str, NodeHome], dataset: str) -> None:
    file = write(nodes["tax"].path.parent / "f.csv", rows=10)
    with pytest.raises(InputInvalid, match="is no name of a dataset"):
        datasets.add(nodes["tax"], file, dataset=dataset, text=text(), origin="d.yaml")


def test_removing_takes_it_from_the_engines_and_tells_the_others(
    nodes: Mapping[str, NodeHome], hub: HubHome
) -> None:
    node = nodes["tax"]
    _add(node)
    catalogue.deliver(hub, "tax", _published(node))
    catalogue.accept(nodes["bank"], catalogue.collected(hub))
    after = datasets.remove(NodeHome.open(node.path), "firms")
    assert (after.withdrawn, after.revision) == (True, 2)
    assert NodeHome.open(node.path).config.data == {}
    assert catalogue.folder_of(node).all() == []
    catalogue.deliver(hub, "tax", _published(node))
    assert catalogue.accept(nodes["bank"], catalogue.collected(hub)).new == ["tax/firms"]
    assert catalogue.folder_of(nodes["bank"]).all() == []
    with pytest.raises(InputInvalid, match="names no dataset"):
        datasets.remove(NodeHome.open(node.path), "firms")
    assert _add(node).descriptor.revision == 3


# ------------------------------------------------------------------------------- node.toml


def test_the_rest_of_node_toml_stays_as_its_owner_wrote_it(nodes: Mapping[str, NodeHome]) -> None:
    node = nodes["tax"]
    path = node.path / "node.toml"
    path.write_text(
        path.read_text("utf-8").replace("[data]", '# mine\n[data]  # tables\nold = "old.csv"'),
        "utf-8",
    )
    before = path.read_text("utf-8").splitlines()
    _add(NodeHome.open(node.path))
    after = path.read_text("utf-8").splitlines()
    assert [line for line in after if not line.startswith('"firms"')] == before
    datasets.remove(NodeHome.open(node.path), "firms")
    assert path.read_text("utf-8").splitlines() == before


def test_an_entry_by_hand_is_replaced(nodes: Mapping[str, NodeHome]) -> None:
    node = nodes["tax"]
    path = node.path / "node.toml"
    path.write_text(path.read_text("utf-8") + 'firms = "old.csv"\n', "utf-8")
    _add(NodeHome.open(node.path))
    data = tomllib.loads(path.read_text("utf-8"))["data"]
    assert list(data) == ["firms"]
    assert data["firms"].endswith("tax-firms.csv")


def test_node_toml_without_a_table_gets_one(nodes: Mapping[str, NodeHome]) -> None:
    node = nodes["tax"]
    path = node.path / "node.toml"
    path.write_text(path.read_text("utf-8").replace("[data]", ""), "utf-8")
    _add(NodeHome.open(node.path))
    assert "firms" in NodeHome.open(node.path).config.data


def test_node_toml_in_another_style_is_left_alone(nodes: Mapping[str, NodeHome]) -> None:
    node = nodes["tax"]
    path = node.path / "node.toml"
    text_before = path.read_text("utf-8").replace("[data]", "").rstrip()
    head, _, rest = text_before.partition("\n")
    path.write_text(f'data = {{ firms = "old.csv" }}\n{head}\n{rest}\n', "utf-8")
    before = path.read_text("utf-8")
    with pytest.raises(InputInvalid, match="can't be changed here"):
        _add(NodeHome.open(node.path))
    assert path.read_text("utf-8") == before


# ----------------------------------------------------------------------------------- levels

CORE = {"/level": "core", "/actions": [], "/columns/region/level": "core"}


def test_core_data_are_described_and_nothing_else(nodes: Mapping[str, NodeHome]) -> None:
    node = nodes["tax"]
    added = _add(node, declared=text(CORE))
    assert not added.registered
    assert NodeHome.open(node.path).config.data == {}
    with pytest.raises(Refused, match="core data"):
        datasets.publish(node, "firms")


def test_core_data_in_node_toml_are_used_for_nothing(nodes: Mapping[str, NodeHome]) -> None:
    node = nodes["tax"]
    _add(node)
    with pytest.raises(InputInvalid, match="core data may be used for nothing"):
        _add(node, declared=text(CORE))
    datasets.remove(NodeHome.open(node.path), "firms")
    _add(node, declared=text(CORE))
    path = node.path / "node.toml"
    path.write_text(path.read_text("utf-8") + 'firms = "tax-firms.csv"\n', "utf-8")
    with pytest.raises(Refused, match="core data"):
        grants.schema_of(NodeHome.open(node.path), "firms")


# ------------------------------------------------------------------------------ the exchange


def test_from_the_owner_over_the_hub_to_everyone(
    nodes: Mapping[str, NodeHome], hub: HubHome
) -> None:
    _add(nodes["tax"])
    _add(nodes["health"], "visits")
    for name, dataset in (("tax", "firms"), ("health", "visits")):
        catalogue.deliver(hub, name, _published(nodes[name], dataset))
    data = catalogue.collected(hub)
    taken = catalogue.accept(nodes["bank"], data)
    assert (taken.new, taken.kept, taken.left_out) == (["health/visits", "tax/firms"], [], [])
    again = catalogue.accept(nodes["bank"], data)
    assert (again.new, again.kept) == ([], ["health/visits", "tax/firms"])
    known = [s.descriptor.name for s in catalogue.folder_of(nodes["bank"]).all()]
    assert known == ["health/visits", "tax/firms"]
    assert catalogue.folder_of(nodes["bank"]).get("visits").descriptor.owner == "health"
    assert NodeHome.open(nodes["bank"].path).config.data == {}


def test_the_hub_takes_a_members_own_descriptors_only(
    nodes: Mapping[str, NodeHome], hub: HubHome
) -> None:
    _add(nodes["tax"])
    with pytest.raises(Refused, match="bank hands in a descriptor of tax"):
        catalogue.deliver(hub, "bank", _published(nodes["tax"]))
    assert catalogue.folder_of(hub).all() == []


def test_a_descriptor_in_anothers_name_is_refused(
    nodes: Mapping[str, NodeHome], hub: HubHome
) -> None:
    forged = signing.sign_descriptor(descriptor(owner="tax"), nodes["bank"].statement_key)
    with pytest.raises(SignatureInvalid):
        catalogue.deliver(hub, "tax", forged)
    under_own_name = envelope.sign(
        descriptor(owner="tax").document(), signing.TYPE, nodes["bank"].statement_key, "bank"
    )
    with pytest.raises(SignatureInvalid, match="another organisation than its owner"):
        catalogue.deliver(hub, "bank", under_own_name)


def test_a_stranger_is_refused(nodes: Mapping[str, NodeHome], hub: HubHome) -> None:
    stranger = signing.sign_descriptor(descriptor(owner="other"), nodes["tax"].statement_key)
    with pytest.raises(UnknownOrganisation):
        catalogue.deliver(hub, "other", stranger)


def test_an_older_revision_is_refused_at_the_hub_and_not_taken_at_a_node(
    nodes: Mapping[str, NodeHome], hub: HubHome
) -> None:
    _add(nodes["tax"])
    old = _published(nodes["tax"])
    catalogue.deliver(hub, "tax", old)
    stale = catalogue.collected(hub)
    _add(nodes["tax"])
    catalogue.deliver(hub, "tax", _published(nodes["tax"]))
    catalogue.deliver(hub, "tax", _published(nodes["tax"]))
    with pytest.raises(Refused, match="Revision 1 of tax/firms is older than 2"):
        catalogue.deliver(hub, "tax", old)
    catalogue.accept(nodes["bank"], catalogue.collected(hub))
    back = catalogue.accept(nodes["bank"], stale)
    assert back.new == []
    assert [name for name, _ in back.left_out] == ["tax"]
    assert catalogue.folder_of(nodes["bank"]).get("firms").descriptor.revision == 2


def test_two_documents_of_one_revision_are_found(
    nodes: Mapping[str, NodeHome], hub: HubHome
) -> None:
    key = nodes["tax"].statement_key
    catalogue.deliver(hub, "tax", signing.sign_descriptor(descriptor(), key))
    other = signing.sign_descriptor(descriptor({"/update_period": "daily"}), key)
    with pytest.raises(MessageInvalid, match="Two descriptors"):
        catalogue.deliver(hub, "tax", other)


def test_core_data_are_taken_by_nobody(nodes: Mapping[str, NodeHome], hub: HubHome) -> None:
    core = descriptor({"/level": "core", "/actions": []})
    data = signing.sign_descriptor(core, nodes["tax"].statement_key)
    with pytest.raises(Refused, match="core data"):
        catalogue.deliver(hub, "tax", data)
    taken = catalogue.accept(nodes["bank"], signing.collection([data]))
    assert "core data" in taken.left_out[0][1]


def test_one_bad_descriptor_keeps_no_other_from_a_node(
    nodes: Mapping[str, NodeHome], hub: HubHome
) -> None:
    del hub
    good = signing.sign_descriptor(descriptor(), nodes["tax"].statement_key)
    forged = signing.sign_descriptor(descriptor(owner="health"), nodes["tax"].statement_key)
    taken = catalogue.accept(nodes["bank"], signing.collection([forged, b"nothing", good]))
    assert taken.new == ["tax/firms"]
    assert [name for name, _ in taken.left_out] == ["health", "somebody"]


def test_a_node_knows_its_own_best(nodes: Mapping[str, NodeHome], hub: HubHome) -> None:
    _add(nodes["tax"])
    catalogue.deliver(hub, "tax", _published(nodes["tax"]))
    datasets.remove(NodeHome.open(nodes["tax"].path), "firms")
    catalogue.accept(nodes["tax"], catalogue.collected(hub))
    assert catalogue.folder_of(nodes["tax"]).all() == []


def test_a_node_restored_from_a_backup_gets_its_own_newer_ones_back(
    nodes: Mapping[str, NodeHome], hub: HubHome
) -> None:
    _add(nodes["tax"])
    old = _published(nodes["tax"])
    _add(nodes["tax"])
    catalogue.deliver(hub, "tax", _published(nodes["tax"]))
    catalogue.folder_of(nodes["tax"]).file("tax", "firms").write_bytes(old)
    assert catalogue.accept(nodes["tax"], catalogue.collected(hub)).new == ["tax/firms"]
    assert _add(nodes["tax"]).descriptor.revision == 3


def test_after_a_new_statement_key_a_descriptor_is_signed_anew(
    nodes: Mapping[str, NodeHome], hub: HubHome
) -> None:
    node = nodes["tax"]
    _add(node)
    catalogue.deliver(hub, "tax", _published(node))
    old = node.statement_key.public
    request = rotation.rotate(node, {"statement"})
    roster = rosters.rotate(hub, request.read_bytes())
    take_roster(node, hub.roster_file.read_bytes(), take_up=True)
    assert roster is not None
    assert node.public_keys().statement_key != old
    # At the hub it counts no longer; its owner still knows it, and goes on using the table.
    assert catalogue.folder_of(hub).all() == []
    node = NodeHome.open(node.path)
    assert [s.descriptor.revision for s in catalogue.folder_of(node).all()] == [1]
    grants.schema_of(node, "firms")
    assert catalogue.deliver(hub, "tax", _published(node)).descriptor.revision == 2
    assert _published(node) == _published(node)
    assert [s.descriptor.revision for s in catalogue.folder_of(hub).all()] == [2]


def test_a_flood_is_refused(
    nodes: Mapping[str, NodeHome], hub: HubHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = nodes["tax"].statement_key

    def deliver(number: int) -> None:
        data = signing.sign_descriptor(descriptor(dataset=f"d{number}"), key)
        catalogue.deliver(hub, "tax", data)

    monkeypatch.setattr(signing, "MAX_DATASETS_A_MEMBER", 2)
    deliver(1)
    deliver(2)
    deliver(2)
    with pytest.raises(Refused, match="which is the most"):
        deliver(3)
    monkeypatch.setattr(signing, "MAX_DATASETS_A_MEMBER", 200)
    monkeypatch.setattr(signing, "MAX_COLLECTION_BYTES", len(catalogue.collected(hub)) + 100)
    with pytest.raises(Refused, match="full"):
        deliver(4)
    assert len(catalogue.collected(hub)) <= signing.MAX_COLLECTION_BYTES


def test_the_bound_that_the_hub_checks_is_one_of_what_it_collects(
    nodes: Mapping[str, NodeHome],
) -> None:
    data = [
        signing.sign_descriptor(descriptor(dataset=f"d{n}"), nodes["tax"].statement_key)
        for n in range(20)
    ]
    assert len(signing.collection(data)) <= signing.collected_size(map(len, data))


@pytest.mark.parametrize(
    "data",
    [b"", b"{}", b"[]", b'{"descriptors":[1],"schema":"fusion.catalogue/1"}',
     b'{"descriptors":[],"more":1,"schema":"fusion.catalogue/1"}',
     b'{"descriptors":[],"schema":"fusion.catalogue/2"}', b" " * 17_000_000],
)  # fmt: skip
def test_what_is_no_catalogue_is_refused(nodes: Mapping[str, NodeHome], data: bytes) -> None:
    with pytest.raises(VerificationFailed):
        catalogue.accept(nodes["bank"], data)


def test_a_file_that_was_exchanged_is_left_out(nodes: Mapping[str, NodeHome], hub: HubHome) -> None:
    _add(nodes["tax"])
    catalogue.deliver(hub, "tax", _published(nodes["tax"]))
    folder = catalogue.folder_of(hub)
    path: Path = folder.file("tax", "firms")
    path.rename(folder.file("tax", "other"))
    told: list[str] = []
    assert folder.all(note=told.append) == []
    assert "holds another descriptor than its name says" in told[0]
    folder.file("tax", "other").write_bytes(b"x")
    assert folder.all() == []


def test_files_go_the_same_ways(nodes: Mapping[str, NodeHome], hub: HubHome) -> None:
    _add(nodes["tax"])
    data = _published(nodes["tax"])
    assert catalogue.take_file(hub, data).new == ["tax/firms"]
    assert catalogue.take_file(nodes["bank"], data).new == ["tax/firms"]
    assert catalogue.take_file(nodes["health"], catalogue.collected(hub)).new == ["tax/firms"]
    with pytest.raises(InputInvalid, match="one descriptor at a time"):
        catalogue.take_file(hub, catalogue.collected(hub))
    forged = signing.sign_descriptor(descriptor(owner="tax"), nodes["bank"].statement_key)
    with pytest.raises(FusionError):
        catalogue.take_file(nodes["health"], forged)
