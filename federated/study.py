"""A study: what is learned from which columns, by whom, and under which rules.

Two ways in, one set of rules (:mod:`federated.study_document`): :func:`parse_study` reads the file
that a person wrote and names the line of what is wrong; :meth:`Study.from_canonical` reads the
bytes that a hub showed. :meth:`Study.digest` is what all parties sign statements about.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from dataclasses import dataclass
from functools import cached_property, reduce
from typing import TYPE_CHECKING, Any, Final

from pydantic import ValidationError

from federated.privacy.plan import plan
from federated.study_document import (
    Aggregation,
    CategoryColumn,
    Deadlines,
    Document,
    FedAdam,
    FedAvg,
    FedAvgM,
    Key,
    Local,
    Logistic,
    Mlp,
    NumberColumn,
    Privacy,
    StudySection,
    broken_rules,
    feature_count,
    known_keys,
)
from fusion.crypto.hashing import hexdigest
from fusion.errors import MessageInvalid, StudyInvalid
from fusion.wire import canonical
from fusion.wire.limits import MEBI
from fusion.wire.toml_lines import line_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from federated.privacy.plan import Plan
    from fusion.types import OrgId
    from fusion.wire.toml_lines import KeyPath

SCHEMA: Final = "fusion.study/1"
MAX_STUDY_BYTES: Final = MEBI
_DIGEST_DOMAIN: Final = "banyan/study/v1"
_TOML_PLACE: Final = re.compile(r" \(at line (\d+), column \d+\)$")
_TOML_END: Final = " (at end of document)"


@dataclass(frozen=True, kw_only=True)
class Study:
    """A study that keeps all the rules.

    Attributes:
        name: Of the study.
        dataset: What each organisation calls the table in its own node's configuration.
        label: Column to predict.
        positive: Value of the label that counts as 1.
        organisations: Who takes part.
        quorum: Smallest number of contributors whose sum may be opened.
        rounds: Rounds of training.
        holdout: Share of an organisation's rows that judge and never train.
        seed: Of all training randomness.
        max_rows: Most rows an organisation trains on, and most it judges on.
        operator: Who operates, as the grants name it; needed where a node requires grants.
        purpose: What for, as the grants name it.
        grants: Ids of the only grants that data holders may decide under; None for any.
        model: Kind and shape.
        local: Training between two sums.
        optimiser: What the server makes of the mean update.
        aggregation: Fixed point of the secure sum.
        key: Length, threshold and holders.
        deadlines: Seconds a phase may take.
        privacy: Differential privacy of each row, if there is any.
        columns: Inputs, in order.
    """

    name: str
    dataset: str
    label: str
    positive: str | int | float
    organisations: tuple[OrgId, ...]
    quorum: int
    rounds: int
    holdout: float
    seed: int
    max_rows: int
    operator: OrgId | None
    purpose: str | None
    grants: tuple[str, ...] | None
    model: Logistic | Mlp
    local: Local
    optimiser: FedAvg | FedAvgM | FedAdam
    aggregation: Aggregation
    key: Key
    deadlines: Deadlines
    privacy: Privacy | None
    columns: tuple[NumberColumn | CategoryColumn, ...]

    @property
    def features(self) -> int:
        """Number of inputs of the model."""
        return feature_count(self.columns)

    @property
    def numbers(self) -> tuple[NumberColumn, ...]:
        """The columns that are numbers, in order; they are the first features."""
        return tuple(column for column in self.columns if isinstance(column, NumberColumn))

    @property
    def categories(self) -> tuple[CategoryColumn, ...]:
        """The columns that are categories, in order."""
        return tuple(column for column in self.columns if isinstance(column, CategoryColumn))

    @property
    def text_columns(self) -> tuple[str, ...]:
        """Columns whose cells are words even where they look like numbers."""
        words = [column.name for column in self.categories]
        return tuple([*words, self.label] if isinstance(self.positive, str) else words)

    @cached_property
    def noise(self) -> Plan | None:
        """The noise of every sum, if the study asks for privacy."""
        if self.privacy is None:
            return None
        return plan(
            epsilon_micro=self.privacy.epsilon_micro,
            delta=self.privacy.delta,
            rounds=self.rounds,
            sharers=self.quorum - self.privacy.colluders,
            max_rows=self.max_rows,
            value_bits=self.aggregation.value_bits,
        )

    def canonical(self) -> bytes:
        """Return the study, defaults filled in, as canonical JSON."""
        section = {name: getattr(self, name) for name in StudySection.model_fields}
        if self.grants is None:
            del section["grants"]
        parts = ["model", "local", "optimiser", "aggregation", "key", "deadlines"]
        # A study without privacy, or named grants, has the bytes and the digest it always had.
        parts += [] if self.privacy is None else ["privacy"]
        return canonical.encode(
            {
                "schema": SCHEMA,
                "study": section,
                **{part: getattr(self, part).model_dump(mode="json") for part in parts},
                "columns": [column.model_dump(mode="json") for column in self.columns],
            }
        )

    def digest(self) -> str:
        """Return what names exactly this study, in hexadecimal."""
        return hexdigest(_DIGEST_DOMAIN, self.canonical())

    @classmethod
    def from_canonical(cls, data: bytes) -> Study:
        """Read a study that came over the wire, by the same rules as a file.

        Raises:
            MessageInvalid: Too large, not canonical JSON, or of another schema.
            StudyInvalid: It breaks a rule; the message names the key.
        """
        value = canonical.decode(data, limit=MAX_STUDY_BYTES)
        if not isinstance(value, dict) or value.pop("schema", None) != SCHEMA:
            raise MessageInvalid(f"A message is not a study of the schema {SCHEMA}.")
        study = _study(value, _Source("study", None))
        if study.canonical() != data:
            raise MessageInvalid("A study does not state its defaults.")
        return study


@dataclass(frozen=True, slots=True)
class _Source:
    """Where a document came from, to say where it is wrong."""

    origin: str
    text: str | None

    def place(self, path: KeyPath) -> str:
        """Return ``file:line`` of a key, or the key's own name where there is no file."""
        if self.text is None:
            return f"{self.origin}: {'.'.join(map(str, path))}"
        return f"{self.origin}:{line_of(self.text, path)}"


def parse_study(text: str, origin: str) -> Study:
    """Read a study file.

    Args:
        text: TOML.
        origin: The file's name, for messages.

    Raises:
        StudyInvalid: Not TOML, or a rule is broken; the message names the line.
    """
    if len(text.encode("utf-8", "surrogatepass")) > MAX_STUDY_BYTES:
        raise StudyInvalid(f"{origin}: a study file has at most {MAX_STUDY_BYTES} bytes.")
    try:
        value = tomllib.loads(text)
        return _study(value, _Source(origin, text))
    except tomllib.TOMLDecodeError as error:
        raise _not_toml(text, origin, str(error)) from None
    except RecursionError:
        raise StudyInvalid(f"{origin}: arrays or tables are nested too deeply.") from None


def _not_toml(text: str, origin: str, problem: str) -> StudyInvalid:
    found = _TOML_PLACE.search(problem)
    line = int(found[1]) if found else text.rstrip().count("\n") + 1
    problem = _TOML_PLACE.sub("", problem).removesuffix(_TOML_END)
    return StudyInvalid(f"{origin}:{line}: this is not TOML: {problem[:200]}.")


def _study(value: Mapping[str, Any], source: _Source) -> Study:
    """Validate a document and flatten it."""
    try:
        document = Document.model_validate(_tuples(value))
    except ValidationError as error:
        raise _refusal(_problems(error, value), source) from None
    broken = list(broken_rules(document))
    if broken:
        raise _refusal(broken, source)
    sections = {name: getattr(document, name) for name in Document.model_fields if name != "study"}
    fields = {name: getattr(document.study, name) for name in StudySection.model_fields}
    return Study(**fields, **sections)


def _tuples(value: Any) -> Any:  # noqa: ANN401 - any TOML value
    """Return lists as tuples: strict models take no list for a tuple."""
    if isinstance(value, dict):
        return {key: _tuples(item) for key, item in value.items()}
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def _refusal(problems: list[tuple[KeyPath, str, str]], source: _Source) -> StudyInvalid:
    """Return the error for the first problem; the others are counted."""
    path, message, hint = problems[0]
    others = len(problems) - 1
    more = f" ({others} more)" if others else ""
    return StudyInvalid(f"{source.place(path)}: {message}{more}", hint=hint)


def _problems(error: ValidationError, value: Mapping[str, Any]) -> list[tuple[KeyPath, str, str]]:
    """Return path, message and hint of what validation found."""
    found: dict[KeyPath, tuple[KeyPath, str, str]] = {}
    errors = error.errors(include_url=False, include_input=False)
    # A misspelt key makes another one missing; the misspelt one is what the writer looks for.
    for each in sorted(errors, key=lambda each: each["type"] != "extra_forbidden"):
        path = _own_path(each["loc"], value)
        name = _name(path)
        match each["type"]:
            case "extra_forbidden":
                message, hint = f"{name} is no key of {_section(path[:-1])}.", _nearest(path, value)
            case "missing":
                message, hint = f"{_section(path[:-1])} lacks {name}.", ""
            case "union_tag_not_found":
                tag = str(each["ctx"]["discriminator"]).strip("'")
                message, hint = f"{_section(path)} lacks `{tag}`.", ""
            case "union_tag_invalid":
                tag = str(each["ctx"]["discriminator"]).strip("'")
                path = (*path, tag)
                message = f"`{tag}` has to be one of {each['ctx']['expected_tags']}."
                hint = ""
            case _:
                text = each["msg"].removeprefix("Value error, ")
                message, hint = re.sub(r"^[A-Z]\w+ should", f"{name} should", text), ""
                message = message if message.endswith(".") else f"{message}."
        found.setdefault(path, (path, message, hint))
    return list(found.values())


def _own_path(loc: tuple[int | str, ...], value: Any) -> KeyPath:  # noqa: ANN401 - any TOML value
    """Return a location without the tags of unions, which stand in no file."""
    path: list[int | str] = []
    here = value
    for index, part in enumerate(loc):
        if isinstance(here, dict):
            if part in (here.get("kind"), here.get("type")) and index < len(loc) - 1:
                continue
            here = here.get(str(part))
        elif isinstance(here, list) and isinstance(part, int):
            here = here[part] if part < len(here) else None
        path.append(part)
    return tuple(path)


def _name(path: KeyPath) -> str:
    """Return how a message calls a key, or an item of an array."""
    if path and isinstance(path[-1], int):
        return f"Item {path[-1] + 1} of {_name(path[:-1])}"
    return f"`{path[-1]}`" if path else "The study"


def _section(path: KeyPath) -> str:
    """Return how a file writes a section."""
    if not path:
        return "a study file"
    return "[[columns]]" if path[0] == "columns" else f"[{path[0]}]"


def _nearest(path: KeyPath, value: Mapping[str, Any]) -> str:
    """Return a hint that names the known key nearest to an unknown one."""
    section = reduce(_step, path[:-1], value)
    chosen = section.get("kind", section.get("type")) if isinstance(section, dict) else None
    known = known_keys(path[:-1], chosen)
    near = difflib.get_close_matches(str(path[-1]), known, n=1)
    return f"Did you mean `{near[0]}`?" if near else f"Known keys: {', '.join(known)}."


def _step(value: Any, part: int | str) -> Any:  # noqa: ANN401 - any TOML value
    return value[part]
