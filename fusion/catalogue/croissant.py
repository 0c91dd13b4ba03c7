"""The description of a made-up sample in Croissant 1.0 (MLCommons), as JSON-LD.

The context is written out; nothing has to be fetched in order to read it. What a sample cost is in
terms of our own, ``fusion:``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from fusion.catalogue.descriptor import Dates, Range

if TYPE_CHECKING:
    from fusion.catalogue.descriptor import Column, Descriptor
    from fusion.catalogue.mock import Sample

CONFORMS_TO: Final = "http://mlcommons.org/croissant/1.0"
_VOCABULARY: Final = (
    "citeAs column conformsTo equivalentProperty extract field fileProperty fileObject fileSet "
    "format includes isLiveDataset jsonPath key md5 parentField path recordSet references regex "
    "repeated replace samplingRate separator source subField transform"
)
CONTEXT: Final[dict[str, Any]] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    **{term: f"cr:{term}" for term in _VOCABULARY.split()},
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "fusion": "urn:fusion:catalogue:1#",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "sc": "https://schema.org/",
}
ENCODINGS: Final[dict[str, str]] = {
    ".csv": "text/csv",
    ".parquet": "application/x-parquet",
}


def decimal(micro: int) -> str:
    """Return millionths as a decimal number without zeros at its end."""
    text = f"{micro // 1_000_000}.{micro % 1_000_000:06}".rstrip("0")
    return text.removesuffix(".")


def sentence(descriptor: Descriptor, sample: Sample) -> str:
    """Return what is printed with a sample: what it is, what it cost, what it protects."""
    return (
        f"Made up: {sample.rows} rows in the shape of {descriptor.name}, drawn column by column "
        f"from differentially private counts with epsilon = {decimal(sample.epsilon_micro)} in all "
        f"({decimal(sample.share_micro)} a column; unit of privacy: one {sample.unit}). No row of "
        "it is real, columns are independent of each other, identifiers belong to nobody."
    )


def describe(
    descriptor: Descriptor, sample: Sample, *, file: str, sha256: str, size: int, made: str
) -> dict[str, Any]:
    """Return the description of a sample in a file.

    Args:
        descriptor: Of the dataset.
        sample: The rows.
        file: Name of their file, which lies beside the description.
        sha256: Its digest.
        size: Its bytes.
        made: Day on which it was made.
    """
    suffix = file[file.rindex(".") :]
    return {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": CONFORMS_TO,
        "name": f"{descriptor.owner}-{descriptor.id}-mock",
        "alternateName": [descriptor.title.en, descriptor.title.zh],
        "description": sentence(descriptor, sample),
        "url": f"urn:fusion:dataset:{descriptor.owner}:{descriptor.id}",
        "license": "For development under a grant of the owner; not for publication.",
        "creator": {"@type": "sc:Organization", "name": descriptor.owner},
        "publisher": {"@type": "sc:Organization", "name": descriptor.owner},
        "datePublished": made,
        "version": f"{descriptor.revision}.0.0",
        "citeAs": f"{descriptor.owner}: {descriptor.title.en} (made-up sample, {made})",
        "isLiveDataset": False,
        "rai:dataCollection": "Synthetic: drawn from noised one-way marginals.",
        "fusion:epsilon": decimal(sample.epsilon_micro),
        "fusion:epsilonPerColumn": decimal(sample.share_micro),
        "fusion:delta": "0",
        "fusion:unitOfPrivacy": sample.unit,
        "fusion:mechanism": "discrete Laplace on one-way marginals",
        "fusion:descriptorDigest": f"sha256:{descriptor.digest}",
        "distribution": [
            {
                "@type": "cr:FileObject",
                "@id": file,
                "name": file,
                "contentUrl": file,
                "contentSize": f"{size} B",
                "encodingFormat": ENCODINGS[suffix],
                "sha256": sha256,
            }
        ],
        "recordSet": [
            {
                "@type": "cr:RecordSet",
                "@id": "rows",
                "name": "rows",
                "field": [_field(column, file) for column in descriptor.columns],
            }
        ],
    }


def _field(column: Column, file: str) -> dict[str, Any]:
    field: dict[str, Any] = {
        "@type": "cr:Field",
        "@id": f"rows/{column.name}",
        "name": column.name,
        "description": column.title.en if column.title is not None else column.name,
        "dataType": _type(column),
        "source": {"fileObject": {"@id": file}, "extract": {"column": column.name}},
        "fusion:level": column.level,
    }
    if column.unit is not None:
        field["fusion:unit"] = column.unit
    if column.key is not None:
        field["fusion:entity"] = column.key.entity
        field["fusion:identifierScheme"] = column.key.scheme
    return field


def _type(column: Column) -> str:
    match column.domain:
        case Range(decimals=0):
            return "sc:Integer"
        case Range():
            return "sc:Float"
        case Dates():
            return "sc:Date"
        case _:
            return "sc:Text"
