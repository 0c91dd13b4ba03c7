"""JSON-LD held to a file of shapes (SHACL), without fetching anything."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pyshacl
import rdflib

from tests.docs.sources import ROOT

if TYPE_CHECKING:
    from collections.abc import Mapping

_SHAPES: dict[str, rdflib.Graph] = {}


def graph_of(document: Mapping[str, Any]) -> rdflib.Graph:
    """Read a JSON-LD document."""
    return rdflib.Graph().parse(data=json.dumps(document), format="json-ld")


def report(document: Mapping[str, Any], shapes: str) -> str:
    """Return what is wrong with a document by ``docs/shapes/NAME.ttl``, or nothing."""
    if shapes not in _SHAPES:
        path = ROOT / "docs/shapes" / f"{shapes}.ttl"
        _SHAPES[shapes] = rdflib.Graph().parse(path, format="turtle")
    # The first fault is enough to refuse a document; looking for all of them takes longer.
    conforms, _, text = pyshacl.validate(
        graph_of(document), shacl_graph=_SHAPES[shapes], abort_on_first=True
    )
    return "" if conforms else str(text)
