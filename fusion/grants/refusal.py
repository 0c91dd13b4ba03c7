"""A refusal: which clause said no, what was asked, what would pass, and the change that gets there.

The change is machine-readable: operations of JSON Patch (RFC 6902: add, replace) on the request
or on the grant, signatures that are missing, or a time to wait for. A changed grant is a new
grant: it gets a new id and new budgets, and has to be signed by all. A refusal holds what the
request and the grant say, and counts of use; never a value of the data.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, Literal

from fusion.errors import GrantRefused

Language = Literal["en", "zh"]
Target = Literal["request", "grant", "signatures", "time"]
_SHOWN: Final = 160


class Code(StrEnum):
    """Stable codes of what a decision can say no to."""

    NO_GRANT = "G-00"
    NOT_SIGNED = "G-01"
    REVOKED = "G-02"
    NOT_YET = "G-03"
    EXPIRED = "G-04"
    NAMED = "G-05"
    PARTY = "G-11"
    ASSIGNEE = "G-12"
    DATASET = "G-13"
    SCHEMA = "G-14"
    COLUMNS = "G-15"
    PURPOSE = "G-16"
    ACTION = "G-21"
    MODEL = "G-22"
    CONTRIBUTORS = "G-23"
    ROUNDS = "G-24"
    SET_SIZE = "G-25"
    OUTPUT = "G-26"
    CODE = "G-27"
    OUTCOME = "G-28"
    INTERSECTION = "G-29"
    OVERLAP = "G-30"
    RUNS = "G-31"
    EPSILON = "G-32"
    ROWS = "G-33"
    ANOTHER_MODEL = "G-34"
    UNDECLARED = "G-41"
    NOT_OF_ACTION = "G-42"
    MEMBERSHIP = "G-61"
    LABEL_LEAK = "G-62"
    SMALLEST_LEAF = "G-63"


WORDS: Final[dict[Code, tuple[str, str]]] = {
    Code.NO_GRANT: (
        "no grant here is about {asked}",
        "此处没有关于 {asked} 的授权",
    ),
    Code.NOT_SIGNED: (
        "the grant lacks signatures: {passes}",
        "授权缺少签名：{passes}",
    ),
    Code.REVOKED: (
        "the grant was revoked",
        "授权已被撤销",
    ),
    Code.NOT_YET: (
        "the grant begins at {passes}, it is {asked}",
        "授权自 {passes} 起生效，现在是 {asked}",
    ),
    Code.EXPIRED: (
        "the grant has ended, it is {asked}",
        "授权已到期，现在是 {asked}",
    ),
    Code.NAMED: (
        "the grants that the study names, {asked}, are not here for this table; here is {passes}",
        "研究指定的授权 {asked} 在此处均不适用于该数据表；此处为 {passes}",
    ),
    Code.PARTY: (
        "{asked} is not an assigner of the grant; {passes} would be",
        "{asked} 不是授权的数据提供方；授权的提供方为 {passes}",
    ),
    Code.ASSIGNEE: (
        "the grant is for {passes}, not for {asked}",
        "授权给 {passes}，而非 {asked}",
    ),
    Code.DATASET: (
        "the grant is about the dataset {passes}, not {asked}",
        "授权针对数据集 {passes}，而非 {asked}",
    ),
    Code.SCHEMA: (
        "the table's schema is {asked}, the grant is about {passes}",
        "数据表结构为 {asked}，授权针对 {passes}",
    ),
    Code.COLUMNS: (
        "the columns {asked} are not granted; {passes} are",
        "未授权的列：{asked}；已授权：{passes}",
    ),
    Code.PURPOSE: (
        "the grant is for the purpose {passes}, not {asked}",
        "授权目的为 {passes}，而非 {asked}",
    ),
    Code.ACTION: (
        "the grant does not permit the action {asked}; it permits {passes}",
        "授权不允许操作 {asked}；允许：{passes}",
    ),
    Code.MODEL: (
        "models of the kind {asked} are not permitted; {passes} are",
        "不允许的模型类型：{asked}；允许：{passes}",
    ),
    Code.CONTRIBUTORS: (
        "a sum of {asked} contributors is too small; at least {passes} are wanted",
        "聚合参与方数 {asked} 过少；至少 {passes}",
    ),
    Code.ROUNDS: (
        "{asked} rounds are too many; at most {passes} are permitted",
        "轮数 {asked} 过多；至多 {passes}",
    ),
    Code.SET_SIZE: (
        "a set of {asked} is too large; at most {passes} is permitted",
        "集合规模 {asked} 过大；至多 {passes}",
    ),
    Code.OUTPUT: (
        "an output of the kind {asked} is not permitted; {passes} are",
        "不允许的输出类型：{asked}；允许：{passes}",
    ),
    Code.CODE: (
        "the code {asked} is not permitted; {passes}",
        "未获准的代码：{asked}；允许：{passes}",
    ),
    Code.ANOTHER_MODEL: (
        "scoring with the model {asked} is not permitted; with {passes} it is",
        "不允许使用模型 {asked} 评分；允许：{passes}",
    ),
    Code.OUTCOME: (
        "an alignment with the outcome {asked} is not permitted; {passes} are",
        "不允许的对齐结果类型：{asked}；允许：{passes}",
    ),
    Code.INTERSECTION: (
        "releasing {asked} common records is too few; at least {passes} are wanted",
        "可公布的交集规模 {asked} 过小；至少 {passes}",
    ),
    Code.OVERLAP: (
        "an overlap of {asked} thousandths is too small; at least {passes} are wanted",
        "重叠比例 {asked}（千分之一）过小；至少 {passes}",
    ),
    Code.RUNS: (
        "all runs of the grant are used up; {passes} are left",
        "授权的运行次数已用尽；剩余 {passes}",
    ),
    Code.EPSILON: (
        "epsilon of {asked} millionths is more than the {passes} that are left",
        "隐私预算 {asked}（百万分之一）超出剩余的 {passes}",
    ),
    Code.ROWS: (
        "{asked} rows are more than the {passes} that are left",
        "行数 {asked} 超出剩余的 {passes}",
    ),
    Code.UNDECLARED: (
        "the request does not say {asked}, which the grant limits to {passes}",
        "请求未说明 {asked}，而授权限定其为 {passes}",
    ),
    Code.NOT_OF_ACTION: (
        "the request says {asked}, which this action does not know",
        "请求包含该操作所不知的 {asked}",
    ),
    Code.MEMBERSHIP: (
        "a promise of telling members by at most {asked} per mille is too weak; {passes} is wanted",
        "研究承诺的成员推断优势上限 {asked}‰ 高于允许的 {passes}‰",
    ),
    Code.LABEL_LEAK: (
        "a promise that labels leak by at most {asked} per mille is too weak; {passes} is wanted",
        "研究承诺的标签泄露上限 {asked}‰ 高于允许的 {passes}‰",
    ),
    Code.SMALLEST_LEAF: (
        "a promise that weights rest on at least {asked} rows is too weak; {passes} are wanted",
        "研究承诺每个权重至少基于 {asked} 行，而至少需要 {passes} 行",
    ),
}
"""Each code in English and in Chinese."""


@dataclass(frozen=True, slots=True)
class Change:
    """One step of a repair.

    Attributes:
        target: What is changed.
        op: ``add`` or ``replace``, as in RFC 6902.
        path: JSON Pointer; ``/-`` at its end appends.
        value: The new value; the signer, or the time, for the other two targets.
    """

    target: Target
    op: Literal["add", "replace"]
    path: str
    value: Any

    def to_json(self) -> dict[str, Any]:
        """Return the change as JSON values."""
        return {"target": self.target, "op": self.op, "path": self.path, "value": self.value}


@dataclass(frozen=True, slots=True)
class Clause:
    """One thing that was wrong.

    Attributes:
        code: Which.
        path: Of the clause in the grant, as a JSON Pointer.
        asked: What was asked.
        passes: What would pass.
        changes: The smallest change that satisfies it; empty if nothing would.
    """

    code: Code
    path: str
    asked: Any
    passes: Any
    changes: tuple[Change, ...]

    def text(self, language: Language = "en") -> str:
        """Say it."""
        words = WORDS[self.code][0 if language == "en" else 1]
        return words.format(asked=_shown(self.asked), passes=_shown(self.passes))


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Why something may not be done, and what would have to change.

    Attributes:
        party: Whose decision it is.
        grant: Id of the grant that was asked, if there was one.
        job: What was asked for.
        clauses: Everything that was wrong, the weightiest first.
    """

    party: str
    grant: str | None
    job: str
    clauses: tuple[Clause, ...]

    @property
    def code(self) -> Code:
        """The code of the first clause."""
        return self.clauses[0].code

    @property
    def repair(self) -> tuple[Change, ...] | None:
        """All changes together, after which the request passes; ``None`` if nothing would do."""
        if any(not clause.changes for clause in self.clauses):
            return None
        changes = dict.fromkeys(
            (change.target, change.op, change.path, repr(change.value))
            for clause in self.clauses
            for change in clause.changes
        )
        every = [change for clause in self.clauses for change in clause.changes]
        first = {(c.target, c.op, c.path, repr(c.value)): c for c in reversed(every)}
        found = [first[key] for key in changes]
        new_grant = any(c.target == "grant" for c in found)
        replaces = Change("grant", "replace", "/replaces", self.grant)
        if new_grant and replaces not in found:
            found.append(replaces)
        # A new grant is signed by everyone it names: single signatures under this one are moot.
        return tuple(c for c in found if not (new_grant and c.target == "signatures"))

    def text(self, language: Language = "en") -> str:
        """Say what was wrong, in one line."""
        joint = "; " if language == "en" else "；"
        said = joint.join(clause.text(language) for clause in self.clauses)
        return f"{self.party}: {said}." if language == "en" else f"{self.party}：{said}。"

    def advice(self, language: Language = "en") -> str:
        """Say what would pass, in one line."""
        repair = self.repair
        if repair is None and self.code is Code.NAMED:
            return (
                "Bring one of them here (fusion grant fetch), or name this owner's grant, or none."
                if language == "en"
                else "请将其取来（fusion grant fetch），或在研究中指定本方的授权，或不指定。"
            )
        if repair is None and self.code is Code.NO_GRANT:
            return (
                "Propose one, to be signed by all (fusion grant propose GRANT.yaml --home NODE)."
                if language == "en"
                else "请提议一项授权，由各方签署（fusion grant propose GRANT.yaml --home NODE）。"
            )
        if repair is None:
            return (
                "No change of the request or of this grant would pass."
                if language == "en"
                else "更改请求或本授权均无法通过。"
            )
        english = language == "en"
        said = [_advice(change, language) for change in repair if change.target != "grant"]
        terms = [_term(c) for c in repair if c.target == "grant" and c.path != "/replaces"]
        if any(change.target == "grant" for change in repair):
            joint = " and ".join(terms) if english else "、".join(terms)
            if english:
                with_terms = f" with {joint}" if terms else " with the same terms"
                said.append(f"propose a new grant{with_terms}, to be signed by all")
            else:
                said.append(f"提议新的授权（{joint or '条款不变'}），由各方重新签署")
        return f"{', '.join(said)}." if english else f"{'，'.join(said)}。"

    def error(self) -> GrantRefused:
        """Return the refusal as an error, with its code."""
        return GrantRefused(self.text(), hint=self.advice(), code=self.code)

    def to_json(self) -> dict[str, Any]:
        """Return the refusal as JSON values."""
        repair = self.repair
        return {
            "party": self.party,
            "grant": self.grant,
            "job": self.job,
            "code": self.code.value,
            "clauses": [
                {"code": c.code.value, "path": c.path, "asked": c.asked, "passes": c.passes}
                for c in self.clauses
            ],
            "repair": None if repair is None else [change.to_json() for change in repair],
            "text": {"en": self.text("en"), "zh": self.text("zh")},
            "advice": {"en": self.advice("en"), "zh": self.advice("zh")},
        }


def patched(document: dict[str, Any], changes: tuple[Change, ...], target: Target) -> Any:  # noqa: ANN401 - a JSON document
    """Return a copy of a document with the changes for ``target`` made.

    Raises:
        GrantRefused: A path does not lead anywhere.
    """
    result = copy.deepcopy(document)
    for change in changes:
        if change.target != target:
            continue
        *way, last = change.path.removeprefix("/").split("/")
        here: Any = result
        try:
            for part in way:
                here = here[int(part)] if isinstance(here, list) else here[part]
            if isinstance(here, list):
                if last == "-":
                    here.append(copy.deepcopy(change.value))
                else:
                    here[int(last)] = copy.deepcopy(change.value)
            else:
                here[last] = copy.deepcopy(change.value)
        except (KeyError, IndexError, ValueError, TypeError):
            raise GrantRefused("A repair does not fit the document that it is for.") from None
    return result


def _advice(change: Change, language: Language) -> str:
    """Say what is to be done, but for the terms of a new grant."""
    value = _shown(change.value)
    english = language == "en"
    if change.target == "signatures":
        return f"have {value} sign the grant" if english else f"由 {value} 签署授权"
    if change.target == "time":
        return f"wait until {value}" if english else f"等到 {value}"
    where = _place(change)
    return f"ask for {where} = {value}" if english else f"将请求的 {where} 改为 {value}"


def _term(change: Change) -> str:
    sign = "+=" if change.path.endswith("/-") else "="
    return f"{_place(change)} {sign} {_shown(change.value)}"


def _place(change: Change) -> str:
    return change.path.removeprefix("/").removesuffix("/-").replace("/", ".")


def _shown(value: Any) -> str:  # noqa: ANN401 - any JSON value
    """Return a value as a sentence shows it, cut where it is long."""
    if value is None:
        return "none"
    if isinstance(value, dict):
        text = "(" + ", ".join(f"{key} {_shown(item)}" for key, item in value.items()) + ")"
    else:
        text = ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"


def distance(refusal: Refusal) -> tuple[int, bool, str]:
    """Order refusals by how near they are to a permit; of equal ones, a signed grant's first."""
    unsigned = any(clause.code is Code.NOT_SIGNED for clause in refusal.clauses)
    return len(refusal.clauses), unsigned, refusal.grant or ""
