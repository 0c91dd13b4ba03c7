"""The description of a sample is Croissant 1.0: its context, its required properties, its RDF."""

from __future__ import annotations

import re
from typing import Any

from rdflib import RDF, SDO, Literal, URIRef

from fusion.catalogue import croissant
from fusion.catalogue.mock import Sample
from tests.catalogue.descriptors import SCHEMA, descriptor
from tests.catalogue.shapes import graph_of

CR = "http://mlcommons.org/croissant/"
FIRMS = descriptor()
SAMPLE = Sample(
    columns={name: [] for name in SCHEMA},
    rows=10,
    epsilon_micro=250_000,
    share_micro=62_500,
    unit="enterprise",
)
DESCRIPTION = croissant.describe(
    FIRMS, SAMPLE, file="firms-mock.csv", sha256="a" * 64, size=99, made="2026-06-01"
)


def test_it_has_what_croissant_requires() -> None:
    """Croissant 1.0, "Dataset-level information": required properties; and of its parts."""
    for key in (
        "@context", "@type", "conformsTo", "description", "license", "name", "url", "creator",
        "datePublished", "distribution", "recordSet",
    ):  # fmt: skip
        assert DESCRIPTION[key]
    assert DESCRIPTION["@type"] == "sc:Dataset"
    assert DESCRIPTION["conformsTo"] == "http://mlcommons.org/croissant/1.0"
    (file,) = DESCRIPTION["distribution"]
    assert set(file) >= {"@type", "@id", "name", "contentUrl", "encodingFormat", "sha256"}
    (records,) = DESCRIPTION["recordSet"]
    assert [field["name"] for field in records["field"]] == list(SCHEMA)
    for field in records["field"]:
        assert field["source"]["fileObject"] == {"@id": file["@id"]}
        assert field["source"]["extract"] == {"column": field["name"]}
        assert re.fullmatch(r"sc:(Integer|Float|Text|Date)", field["dataType"])


def test_identifiers_in_it_are_unique() -> None:
    (file,), (records,) = DESCRIPTION["distribution"], DESCRIPTION["recordSet"]
    names = [file["@id"], records["@id"], *(field["@id"] for field in records["field"])]
    assert len(set(names)) == len(names)


def test_it_reads_as_rdf_with_the_types_of_croissant() -> None:
    graph = graph_of(DESCRIPTION)
    kinds = {str(kind) for kind in graph.objects(None, RDF.type)}
    assert kinds == {
        "https://schema.org/Dataset", "https://schema.org/Organization",
        f"{CR}FileObject", f"{CR}RecordSet", f"{CR}Field",
    }  # fmt: skip
    (root,) = graph.subjects(RDF.type, SDO.Dataset)
    assert (root, URIRef("urn:fusion:catalogue:1#epsilon"), Literal("0.25", lang="en")) in graph
    types = {str(kind) for kind in graph.objects(None, URIRef(f"{CR}dataType"))}
    assert types == {f"https://schema.org/{name}" for name in ("Integer", "Float", "Text", "Date")}
    fields = list(graph.subjects(RDF.type, URIRef(f"{CR}Field")))
    assert len(fields) == len(SCHEMA)
    columns = {str(name) for name in graph.objects(None, URIRef(f"{CR}column"))}
    assert columns == set(SCHEMA)


def _keys(value: Any) -> set[str]:  # noqa: ANN401 - JSON
    if isinstance(value, dict):
        return {key for key in value if key[0] != "@"}.union(*map(_keys, value.values()))
    return set().union(*map(_keys, value)) if isinstance(value, list) else set()


def test_every_key_is_in_the_context_or_of_schema_org() -> None:
    schema_org = {
        "name", "alternateName", "description", "url", "license", "creator", "publisher",
        "datePublished", "version", "distribution", "contentUrl", "contentSize", "encodingFormat",
        "sha256",
    }  # fmt: skip
    body = {key: value for key, value in DESCRIPTION.items() if key != "@context"}
    for key in _keys(body):
        assert key in croissant.CONTEXT or key in schema_org or key.startswith(("fusion:", "rai:"))
