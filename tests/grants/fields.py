"""Every field of a grant, read off the models, so that a new one can't be forgotten."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args

from pydantic import BaseModel

if TYPE_CHECKING:
    from collections.abc import Iterator


def fields_of(model: type[BaseModel], at: str = "") -> Iterator[str]:
    """Yield the JSON pointer of every field below a model that holds a value.

    A list stands as ``*``; an alternative is told by its tag, as in ``/duties/*[pay]/by``.
    """
    for name, field in model.model_fields.items():
        here = f"{at}/{field.alias or name}"
        parts = list(_models(field.annotation))
        listed = "/*" if _is_tuple(field.annotation) else ""
        if not parts:
            yield here + listed
        for part in parts:
            yield from fields_of(part, here + listed + _tag(part, parts))


def _tag(part: type[BaseModel], among: list[type[BaseModel]]) -> str:
    if len(among) < 2:
        return ""
    return f"[{get_args(part.model_fields['kind'].annotation)[0]}]"


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
        return
    for inner in get_args(annotation):
        yield from _models(inner)


def _is_tuple(annotation: Any) -> bool:
    return str(annotation).replace("typing.Annotated[", "").startswith("tuple[")


def values_of(document: Any, at: str = "", pattern: str = "") -> Iterator[tuple[str, str]]:
    """Yield pointer and pattern (as :func:`fields_of` writes it) of every value in a document."""
    if isinstance(document, dict):
        for name, value in document.items():
            yield from values_of(value, f"{at}/{name}", f"{pattern}/{name}")
    elif isinstance(document, list):
        for index, value in enumerate(document):
            tagged = isinstance(value, dict) and "kind" in value
            step = f"*[{value['kind']}]" if tagged else "*"
            yield from values_of(value, f"{at}/{index}", f"{pattern}/{step}")
    else:
        yield at, pattern


def other(value: Any) -> Any:
    """Return another value of the same kind."""
    match value:
        case bool():
            return not value
        case int():
            return value + 1
        case None:
            return 1
        case str() if value.endswith("Z") and "T" in value:
            return value.replace("00Z", "01Z")
        case str() if len(value) == 64:
            return ("1" if value[0] != "1" else "2") + value[1:]
        case str():
            return value[:-1] + ("x" if value[-1] != "x" else "y")
        case _:
            raise TypeError(value)


def at(document: Any, pointer: str) -> Any:
    """Return the value at a JSON pointer."""
    here = document
    for part in pointer.strip("/").split("/"):
        here = here[int(part)] if isinstance(here, list) else here[part]
    return here
