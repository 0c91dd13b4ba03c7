"""Documents as people write them: TOML, with the line of whatever is wrong."""

from __future__ import annotations

import re
import tomllib
from typing import TYPE_CHECKING, Any, Final, TypeVar

from pydantic import BaseModel

from fusion.wire.limits import MEBI
from fusion.wire.plain_yaml import Written
from fusion.wire.toml_lines import key_lines

if TYPE_CHECKING:
    from fusion.errors import InputInvalid

MAX_TOML_BYTES: Final = MEBI
_PLACE: Final = re.compile(r" \(at line (\d+), column \d+\)$")
_END: Final = " (at end of document)"
_Model = TypeVar("_Model", bound=BaseModel)


def written(text: str, origin: str, wrong: type[InputInvalid]) -> tuple[Written, dict[str, Any]]:
    """Return a TOML text's values, lists as tuples, and what says on which line each stands.

    Args:
        text: TOML.
        origin: The file's name, for messages.
        wrong: The error that says what is wrong.

    Raises:
        InputInvalid: The kind of error given: too long, not TOML, nested too deeply.
    """
    found = Written(origin, wrong)
    if len(text.encode("utf-8", "surrogatepass")) > MAX_TOML_BYTES:
        raise found.fail((), f"A file like this has at most {MAX_TOML_BYTES} bytes.")
    try:
        values = tomllib.loads(text)
        found.lines = {(): 1, **key_lines(text)}
    except tomllib.TOMLDecodeError as error:
        said = str(error)
        place = _PLACE.search(said)
        found.lines[()] = int(place[1]) if place else text.rstrip().count("\n") + 1
        said = _PLACE.sub("", said).removesuffix(_END)[:200]
        raise found.fail((), f"This is not TOML: {said}.") from None
    except RecursionError:
        raise found.fail((), "Arrays or tables are nested too deeply.") from None
    return found, {name: tuples(value) for name, value in values.items()}


def tuples(value: Any) -> Any:  # noqa: ANN401 - any TOML or JSON value
    """Return lists as tuples: strict models take no list for a tuple."""
    if isinstance(value, dict):
        return {key: tuples(item) for key, item in value.items()}
    return tuple(map(tuples, value)) if isinstance(value, list) else value


def read(kind: type[_Model], text: str, origin: str, wrong: type[InputInvalid]) -> _Model:
    """Return a TOML text as a model of this kind.

    Raises:
        InputInvalid: The kind of error given; names the line.
    """
    found, values = written(text, origin, wrong)
    return found.fitted(kind, values)
