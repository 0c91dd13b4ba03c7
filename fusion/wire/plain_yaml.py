"""Documents as people write them: YAML, of which only the plain part is read.

The reader makes texts, whole numbers, ``true``, ``false`` and ``null``, lists and mappings, and
nothing else: a time stamp stays text, ``no`` and ``on`` stay words, a number with a point is
refused. Anchors, aliases, tags, merge keys and a key that is there twice are refused. JSON is
YAML, so a document may be written as either. Whatever is wrong is said with its line.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fusion.errors import InputInvalid

KeyPath = tuple[str | int, ...]
MAX_WRITTEN_BYTES: Final = 256 * 1024
"""The longest text that is read."""
MAX_LEVELS: Final = 12
_INTEGER: Final = re.compile(r"-?(?:0|[1-9]\d{0,15})")
_FRACTION: Final = re.compile(r"-?\d[\d_]*(?:\.\d*)?(?:[eE][-+]?\d+)?")
_WORDS: Final = {"true": True, "false": False, "null": None, "~": None, "": None}
_M = TypeVar("_M", bound=BaseModel)


@dataclass(slots=True)
class Written:
    """One text: builds values out of YAML's nodes and remembers their lines.

    Attributes:
        origin: The file's name, for messages.
        wrong: The error that says what is wrong with it.
        lines: Where each value stands.
    """

    origin: str
    wrong: type[InputInvalid]
    lines: dict[KeyPath, int] = field(default_factory=dict)

    def fail(self, path: KeyPath, message: str, hint: str = "") -> InputInvalid:
        """Return an error about the value at a path, with its line."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.wrong(f"{self.origin}:{self.lines.get(path, 1)}: {message}", hint=hint)

    def read(self, kind: type[_M], text: str) -> _M:
        """Return the text as a model of this kind.

        Raises:
            InputInvalid: The kind of error given; the text is too long, is not YAML as it is read
                here, or does not fit the model.
        """
        if len(text.encode("utf-8", "surrogatepass")) > MAX_WRITTEN_BYTES:
            raise self.fail((), f"A file like this has at most {MAX_WRITTEN_BYTES} bytes.")
        return self.fitted(kind, _tree(text, self))

    def fitted(self, kind: type[_M], value: Any) -> _M:  # noqa: ANN401 - values of a document
        """Return values as a model of this kind.

        Raises:
            InputInvalid: They do not fit; the message names the line of the first that does not.
        """
        try:
            return kind.model_validate(value)
        except ValidationError as error:
            path, message, hint = explained(kind, error, value)
            raise self.fail(path, message, hint) from None

    def value(self, node: Any, path: KeyPath) -> Any:  # noqa: ANN401 - any YAML value
        """Return the value of a node, and remember its line."""
        self.lines.setdefault(path, node.start_mark.line + 1)
        if len(path) > MAX_LEVELS:
            raise self.fail(path, "This is nested too deeply.")
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return tuple(self.value(item, (*path, at)) for at, item in enumerate(node.value))
        return self._scalar(node, path)

    def _mapping(self, node: Any, path: KeyPath) -> dict[str, Any]:  # noqa: ANN401 - a YAML node
        found: dict[str, Any] = {}
        for key_node, value_node in node.value:
            name = key_node.value if isinstance(key_node, yaml.ScalarNode) else None
            here: KeyPath = (*path, str(name)[:80])
            self.lines.setdefault(here, key_node.start_mark.line + 1)
            if not isinstance(name, str) or name == "<<":
                raise self.fail(here, "A key has to be a word.")
            if name in found:
                self.lines[here] = key_node.start_mark.line + 1
                raise self.fail(here, f"`{name[:80]}` is there twice.")
            found[name] = self.value(value_node, here)
        return found

    def _scalar(self, node: Any, path: KeyPath) -> str | int | bool | None:  # noqa: ANN401 - a YAML node
        text: str = node.value
        if node.style is not None:
            return text
        if text in _WORDS:
            return _WORDS[text]
        if _INTEGER.fullmatch(text):
            return int(text)
        if _FRACTION.fullmatch(text):
            raise self.fail(
                path,
                "A number here is a whole one, written plainly.",
                "Money is in hundredths, epsilon in millionths; put a text in quotes.",
            )
        return text


def _tree(text: str, reader: Written) -> Any:  # noqa: ANN401 - any YAML value
    """Return the document's value, after looking at every token for what is not read here."""
    refused = {
        yaml.AnchorToken: "anchors",
        yaml.AliasToken: "aliases",
        yaml.TagToken: "tags",
        yaml.DirectiveToken: "directives",
    }
    try:
        for token in yaml.scan(text, Loader=yaml.SafeLoader):
            what = refused.get(type(token))
            if what is not None:
                reader.lines[()] = token.start_mark.line + 1
                raise reader.fail((), f"YAML's {what} are not read here.")
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except (yaml.YAMLError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        reader.lines[()] = mark.line + 1 if mark is not None else 1
        problem = getattr(error, "problem", None) or "it can't be read"
        raise reader.fail((), f"this is not YAML: {str(problem)[:200]}.") from None
    if not isinstance(node, yaml.MappingNode):
        raise reader.fail((), "A mapping of names to values is wanted.")
    return reader.value(node, ())


def explained(
    kind: type[BaseModel],
    error: ValidationError,
    value: Any,  # noqa: ANN401 - values of a document
) -> tuple[KeyPath, str, str]:
    """Return what is wrong with a document: where, in words, and what may have been meant.

    Args:
        kind: The model that it does not fit.
        error: Why not.
        value: The document.
    """
    errors = error.errors(include_url=False, include_input=False)
    # A misspelt key makes another one missing; the misspelt one is what is looked for.
    first = min(errors, key=lambda each: each["type"] != "extra_forbidden")
    path = _own_path(first["loc"], value)
    name = f"`{path[-1]}`" if path else "The document"
    if first["type"] == "extra_forbidden":
        known, of = _known(kind, path[:-1], value)
        hint = _near(str(path[-1]), known) or f"Known here{of}: {', '.join(known)}."
        return path, f"{name} is not known here.", hint
    if first["type"] == "missing":
        return path, f"{name} is missing.", ""
    if first["type"] in {"union_tag_not_found", "union_tag_invalid"}:
        choice = _schema_at(kind, path)[0].get("discriminator")
        if choice is not None:
            return (path, *_untagged(choice, path, value))
    message = first["msg"].removeprefix("Value error, ").rstrip(".")
    return path, f"{name}: {message[0].lower()}{message[1:]}.", ""


def _untagged(choice: Any, path: KeyPath, value: Any) -> tuple[str, str]:  # noqa: ANN401 - JSON
    """Say of a part that may be one of several that it does not say which, or says none of them."""
    key, tags = choice["propertyName"], list(choice["mapping"])
    part = value
    for each in path:
        part = part[each]
    name, listed = f"`{path[-1]}`" if path else "The document", ", ".join(tags)
    if not isinstance(part, dict):
        return f"{name} has to be a mapping, with a `{key}`.", f"It is one of {listed}."
    if key in part:
        said = str(part[key])[:80]
        hint = _near(said, tags) or f"Known here: {listed}."
        return f"{name}: `{said}` is not a `{key}`.", hint
    near = difflib.get_close_matches(key, list(part), n=1)
    meant = f"Is `{near[0]}` meant to be `{key}`? " if near else ""
    return f"{name} lacks its `{key}`.", f"{meant}It is one of {listed}."


def _near(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    return f"Did you mean `{near[0]}`?" if near else ""


def _own_path(loc: tuple[int | str, ...], value: Any) -> KeyPath:  # noqa: ANN401 - any YAML value
    """Return a location without the tags of unions, which stand in no file."""
    path: list[int | str] = []
    here = value
    for index, part in enumerate(loc):
        if isinstance(here, dict):
            if part == here.get("kind") and index < len(loc) - 1 and part not in here:
                continue
            here = here.get(str(part))
        elif isinstance(here, tuple | list) and isinstance(part, int):
            here = here[part] if part < len(here) else None
        path.append(part)
    return tuple(path)


def _known(kind: type[BaseModel], path: KeyPath, value: Any) -> tuple[list[str], str]:  # noqa: ANN401 - any YAML value
    """Return the keys that a part of the document may have, and of which kind it says it is.

    Args:
        kind: Of the document.
        path: Of the part.
        value: The document as it was written: of a part of several kinds it says which.
    """
    here, schema = _schema_at(kind, path)
    for part in path:
        value = _below(value, part)
    named = value.get("kind") if isinstance(value, dict) else None
    chosen = [each for each in _choices(here, schema) if _is_of(each, named)]
    if "oneOf" in here and chosen:
        return list(chosen[0]), f" where `kind` is `{named}`"
    return list(dict.fromkeys(key for each in _choices(here, schema) for key in each)), ""


def _below(value: Any, part: int | str) -> Any:  # noqa: ANN401 - any YAML value
    try:
        return value[part]
    except (KeyError, IndexError, TypeError):
        return None


def _is_of(properties: Any, named: object) -> bool:  # noqa: ANN401 - part of a JSON schema
    """Return whether these are the properties of what says that it is of this kind."""
    kind = properties.get("kind", {})
    return named is not None and named in (kind.get("const"), *kind.get("enum", ()))


def _schema_at(kind: type[BaseModel], path: KeyPath) -> tuple[Any, Any]:
    """Return the JSON schema of a part of the document, and the whole one."""
    schema = kind.model_json_schema(by_alias=True)
    here = schema
    for part in path:
        if isinstance(part, int):
            here = here.get("items", {})
        else:
            named = next(iter(here.get("patternProperties", {}).values()), None)
            named = named or here.get("additionalProperties") or {}
            here = here.get("properties", {}).get(part) or named
        while "$ref" in here or "anyOf" in here:
            here = here["anyOf"][0] if "anyOf" in here else here
            here = schema["$defs"][here["$ref"].rpartition("/")[2]] if "$ref" in here else here
    return here, schema


def _choices(here: Any, schema: Any) -> Iterator[Any]:  # noqa: ANN401 - parts of a JSON schema
    """Yield the properties of a part, or of all that it may be."""
    for each in here.get("oneOf", [here]):
        found = schema["$defs"][each["$ref"].rpartition("/")[2]] if "$ref" in each else each
        yield found.get("properties", {})
