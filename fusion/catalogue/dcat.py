"""The catalogue in DCAT 3 (W3C Recommendation of 22 August 2024) as JSON-LD, for other catalogues.

With what DCAT-AP asks for of catalogues and datasets; ``docs/shapes/dcat.ttl`` holds it to that
(SHACL). There is no distribution, because the data do not leave their owner: a grant says who may
compute with them. The context is written out; nothing has to be fetched in order to read it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from fusion.catalogue.descriptor import Categories, Dates, Range

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fusion.catalogue.descriptor import Column, Descriptor, Label

CONTEXT: Final[dict[str, str]] = {
    "dcat": "http://www.w3.org/ns/dcat#",
    "dct": "http://purl.org/dc/terms/",
    "foaf": "http://xmlns.com/foaf/0.1/",
    "csvw": "http://www.w3.org/ns/csvw#",
    "odrl": "http://www.w3.org/ns/odrl/2/",
    "xsd": "http://www.w3.org/2001/XMLSchema#",
    "fusion": "urn:fusion:catalogue:1#",
}
_FREQUENCY: Final = "http://publications.europa.eu/resource/authority/frequency/"
FREQUENCIES: Final[dict[str, str]] = {
    "continuous": "CONT",
    "daily": "DAILY",
    "weekly": "WEEKLY",
    "monthly": "MONTHLY",
    "quarterly": "QUARTERLY",
    "annual": "ANNUAL",
    "irregular": "IRREG",
    "never": "NEVER",
}
"""Our periods in the EU's authority table, which DCAT-AP names."""
_RESTRICTED: Final = "http://publications.europa.eu/resource/authority/access-right/RESTRICTED"


def exportable(descriptor: Descriptor) -> bool:
    """Return whether a dataset may be named outside of the federation: general data may."""
    return descriptor.level.startswith("general") and not descriptor.withdrawn


def export(
    descriptors: Iterable[Descriptor], *, federation: str, publisher: str, made: str
) -> dict[str, Any]:
    """Return a catalogue as JSON-LD; what is not :func:`exportable` is not in it.

    Args:
        descriptors: The datasets.
        federation: Identifier of the federation.
        publisher: Who exports.
        made: RFC 3339 in UTC.
    """
    datasets = [each for each in descriptors if exportable(each)]
    catalogue = {
        "@id": f"urn:fusion:catalogue:{federation}",
        "@type": "dcat:Catalog",
        "dct:title": _texts("数据目录", "Catalogue of data"),
        "dct:description": _texts(
            "联合体中可申请授权使用的数据集；数据不离开提供方。",
            "Datasets that may be used under a grant; the data do not leave their owners.",
        ),
        "dct:publisher": {"@id": _organisation(publisher)},
        "dct:modified": _moment(made),
        "dcat:dataset": [{"@id": _name(each)} for each in datasets],
    }
    agents = sorted({publisher, *(each.owner for each in datasets)})
    return {
        "@context": CONTEXT,
        "@graph": [
            catalogue,
            *(_agent(name) for name in agents),
            *(_dataset(each) for each in datasets),
        ],
    }


def _dataset(each: Descriptor) -> dict[str, Any]:
    said = each.description or each.title
    return {
        "@id": _name(each),
        "@type": "dcat:Dataset",
        "dct:identifier": each.name,
        "dct:title": _label(each.title),
        "dct:description": _label(said),
        "dct:publisher": {"@id": _organisation(each.owner)},
        "dct:modified": _moment(each.issued),
        "dcat:version": str(each.revision),
        "dct:accrualPeriodicity": {"@id": f"{_FREQUENCY}{FREQUENCIES[each.update_period]}"},
        "dct:accessRights": {"@id": _RESTRICTED},
        "dcat:keyword": sorted({c.key.entity for c in each.keys if c.key is not None}),
        "fusion:level": each.level,
        "fusion:rows": each.rows,
        "fusion:action": [{"@id": f"fusion:{action}"} for action in each.actions],
        "fusion:schemaDigest": f"sha256:{each.schema_digest}",
        "fusion:descriptorDigest": f"sha256:{each.digest}",
        "csvw:tableSchema": {
            "@id": f"{_name(each)}#schema",
            "@type": "csvw:Schema",
            "csvw:column": {
                "@list": [_column(_name(each), at, c) for at, c in enumerate(each.columns, 1)]
            },
        },
    }


def _column(dataset: str, number: int, column: Column) -> dict[str, Any]:
    found: dict[str, Any] = {
        "@id": f"{dataset}#column-{number}",
        "@type": "csvw:Column",
        "csvw:name": column.name,
        "csvw:datatype": _datatype(column),
        "csvw:required": not column.nullable,
        "fusion:level": column.level,
    }
    if column.title is not None:
        found["dct:title"] = _label(column.title)
    if column.unit is not None:
        found["fusion:unit"] = column.unit
    if column.key is not None:
        found["fusion:entity"] = column.key.entity
        found["fusion:identifierScheme"] = column.key.scheme
    return found


def _datatype(column: Column) -> str:
    match column.domain:
        case Range(decimals=0):
            return "integer"
        case Range():
            return "decimal"
        case Dates():
            return "date"
        case Categories():
            return "string"
        case None:
            return {"number": "number", "time": "datetime"}.get(column.type, "string")


def _agent(name: str) -> dict[str, Any]:
    return {"@id": _organisation(name), "@type": "foaf:Agent", "foaf:name": name}


def _name(each: Descriptor) -> str:
    # As the ODRL export of a grant names its target.
    return f"urn:fusion:dataset:{each.owner}:{each.id}"


def _organisation(name: str) -> str:
    return f"urn:fusion:organisation:{name}"


def _label(label: Label) -> list[dict[str, str]]:
    return _texts(label.zh, label.en)


def _texts(zh: str, en: str) -> list[dict[str, str]]:
    return [{"@value": zh, "@language": "zh"}, {"@value": en, "@language": "en"}]


def _moment(text: str) -> dict[str, str]:
    return {"@value": text, "@type": "xsd:dateTime"}
