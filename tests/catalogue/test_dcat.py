"""The DCAT export validates with SHACL; the shapes refuse what lacks a mandatory property."""

from __future__ import annotations

import copy
import re
from typing import TYPE_CHECKING, Any, get_args

import pytest
from rdflib.namespace import CSVW, DCAT, DCTERMS, FOAF

from fusion.catalogue.dcat import CONTEXT, FREQUENCIES, export
from fusion.catalogue.descriptor import Period
from tests.catalogue.descriptors import descriptor, keyed
from tests.catalogue.shapes import graph_of, report

if TYPE_CHECKING:
    from collections.abc import Callable

    from fusion.catalogue.descriptor import Descriptor

FIRMS = descriptor()
VISITS = keyed("health/visits", {"id": ("person", "gb11643")})
Node = dict[str, Any]


def _export(*descriptors: Descriptor) -> Node:
    return export(descriptors, federation="city", publisher="hub", made="2026-06-01T12:00:00Z")


EXPORT = _export(FIRMS, VISITS)


def _node(document: Node, kind: str) -> Node:
    found: Node = next(node for node in document["@graph"] if node["@type"] == kind)
    return found


def test_it_validates() -> None:
    assert not report(EXPORT, "dcat")
    assert not report(_export(), "dcat")


@pytest.mark.parametrize("period", get_args(Period))
def test_every_update_period_is_a_frequency_of_the_authority_table(period: str) -> None:
    document = _export(descriptor({"/update_period": period}))
    said = _node(document, "dcat:Dataset")["dct:accrualPeriodicity"]["@id"]
    assert said.endswith(f"/frequency/{FREQUENCIES[period]}")


def test_only_general_data_are_named_outside() -> None:
    important = descriptor({"/level": "important", "/actions": ["train"]}, dataset="grid")
    core = descriptor({"/level": "core", "/actions": []}, dataset="secret")
    gone = descriptor(dataset="gone").model_copy(update={"withdrawn": True})
    text = str(_export(FIRMS, important, core, gone))
    assert "tax/firms" in text
    assert not re.search("grid|secret|gone", text)


def test_its_words_are_those_of_the_vocabularies() -> None:
    vocabularies = {"dcat": DCAT, "dct": DCTERMS, "foaf": FOAF, "csvw": CSVW}
    used = set(re.findall(r"'((?:dcat|dct|foaf|csvw):\w+)'", str(EXPORT["@graph"])))
    assert len(used) > 15
    for term in used - {"dcat:version"}:  # new in DCAT 3; rdflib has the terms of DCAT 2
        prefix, _, name = term.partition(":")
        assert str(vocabularies[prefix]) == CONTEXT[prefix]
        # rdflib's closed namespaces know their terms; asking for another one warns, which fails.
        assert vocabularies[prefix][name]


def test_a_grants_target_and_a_dataset_have_one_name() -> None:
    assert _node(EXPORT, "dcat:Dataset")["@id"] == "urn:fusion:dataset:tax:firms"


def test_the_columns_are_in_their_order() -> None:
    columns = _node(EXPORT, "dcat:Dataset")["csvw:tableSchema"]["csvw:column"]["@list"]
    assert [column["csvw:name"] for column in columns] == [c.name for c in FIRMS.columns]
    assert len(graph_of(EXPORT)) > 100


def _drop(kind: str, key: str) -> Callable[[Node], Any]:
    return lambda document: _node(document, kind).pop(key)


def _put(kind: str, key: str, value: Any) -> Callable[[Node], Any]:  # noqa: ANN401 - JSON
    return lambda document: _node(document, kind).update({key: value})


def _columns(document: Node) -> list[Node]:
    found: list[Node] = _node(document, "dcat:Dataset")["csvw:tableSchema"]["csvw:column"]["@list"]
    return found


MUTANTS: dict[str, Callable[[Node], Any]] = {
    **{
        f"a catalogue without {key}": _drop("dcat:Catalog", key)
        for key in ("dct:title", "dct:description", "dct:publisher", "dct:modified")
    },
    **{
        f"a dataset without {key}": _drop("dcat:Dataset", key)
        for key in (
            "dct:title", "dct:description", "dct:publisher", "dct:identifier", "dct:modified",
            "dct:accrualPeriodicity", "dct:accessRights", "dcat:version", "fusion:level",
            "fusion:rows", "fusion:schemaDigest", "csvw:tableSchema",
        )
    },
    "an agent without a name": _drop("foaf:Agent", "foaf:name"),
    "a title without its language": _put("dcat:Dataset", "dct:title", "Firms"),
    "a title in one language twice": _put(
        "dcat:Dataset", "dct:title", [{"@value": x, "@language": "en"} for x in "ab"]
    ),
    "a publisher in words": _put("dcat:Dataset", "dct:publisher", "the tax office"),
    "a publisher that nobody describes": _put("dcat:Dataset", "dct:publisher", {"@id": "urn:x"}),
    "a frequency in words": _put("dcat:Dataset", "dct:accrualPeriodicity", "monthly"),
    "public access": _put(
        "dcat:Dataset",
        "dct:accessRights",
        {"@id": "http://publications.europa.eu/resource/authority/access-right/PUBLIC"},
    ),
    "important data": _put("dcat:Dataset", "fusion:level", "important"),
    "an exact number of rows": _put("dcat:Dataset", "fusion:rows", 1523),
    "an unknown action": _put("dcat:Dataset", "fusion:action", {"@id": "fusion:copy"}),
    "a misspelt property": _put("dcat:Dataset", "dct:titel", "Firms"),
    "a link to the data": _put("dcat:Dataset", "dcat:distribution", {"@id": "urn:file"}),
    "a dataset that is not described": _put("dcat:Catalog", "dcat:dataset", {"@id": "urn:none"}),
    "a column without a name": lambda doc: _columns(doc)[0].pop("csvw:name"),
    "a column of core data": lambda doc: _columns(doc)[0].update({"fusion:level": "core"}),
    "no columns": lambda doc: _columns(doc).clear(),
}  # fmt: skip


@pytest.mark.parametrize("name", MUTANTS)
def test_a_mutant_is_refused(name: str) -> None:
    mutant = copy.deepcopy(EXPORT)
    MUTANTS[name](mutant)
    assert mutant != EXPORT
    assert report(mutant, "dcat")
