"""A grant as people write it: what is read, what is not, and on which line it is wrong."""

from __future__ import annotations

import json

import pytest

from fusion.catalogue.descriptor import schema_digest
from fusion.errors import GrantInvalid, MessageInvalid
from fusion.grants.document import MAX_GRANT_BYTES, grant_of
from fusion.grants.reading import parse_grant, parse_request
from fusion.wire import canonical
from tests.grants.grants import DOCUMENT, grant_from, put, request_from

TEXT = """\
schema: fusion.grant/1
title: Overdue firms      # for people
assigners: [tax]
assignee: bank
dataset:
  id: firms
  columns: [region, turnover]
  schema_digest: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa
permissions:
  train: {models: [logistic], k: 3, rounds: 10, runs: 5}
  score:
    rows: 100
    runs: 1
purpose: dpv:CreditChecking
fee: {kind: industrial, ceiling_cents: 5000}
not_before: 2026-01-01T00:00:00Z
not_after: 2027-01-01T00:00:00Z
duties:
  - {kind: pay, by: 2026-12-31T00:00:00Z, cents: 5000}
signers:
  - {role: owner, organisation: tax}
  - {role: operator, organisation: bank}
"""


def test_a_file_and_its_bytes_are_the_same_grant() -> None:
    grant = parse_grant(TEXT, "grant.yaml")
    assert grant.not_before == "2026-01-01T00:00:00Z"
    assert grant.permissions.train is not None
    assert grant.permissions.train.epsilon_micro is None
    assert grant_of(grant.canonical()) == grant
    assert len(grant.id) == 64
    assert grant.required == {"tax", "bank"}


def test_json_is_read_as_well() -> None:
    assert parse_grant(json.dumps(DOCUMENT, indent=2), "g.json") == grant_from(DOCUMENT)
    request = request_from()
    assert parse_request(json.dumps(request.document()), "r.json") == request


@pytest.mark.parametrize(
    ("before", "after", "line", "message"),
    [
        ("rounds: 10", "runds: 10", 10, "`runds` is not known here. Did you mean `rounds`?"),
        ("assignee: bank\n", "", 1, "`assignee` is missing"),
        ("runs: 5", "runs: 0", 10, "`runs`: input should be greater than or equal to 1"),
        ("k: 3", "k: three", 10, "`k`: input should be a valid integer"),
        ("k: 3", "k: 3.5", 10, "A number here is a whole one"),
        ("Z, cents: 5000", "Z, cents: 50.00", 19, "A number here is a whole one"),
        ("k: 3", "k: 1e3", 10, "A number here is a whole one"),
        ("rows: 100", "rows: yes", 12, "`rows`: input should be a valid integer"),
        ("rows: 100", "rows: 1_000", 12, "A number here is a whole one"),
        ("title: Overdue firms", "title: A\ntitle: B", 3, "`title` is there twice"),
        ("title: Overdue firms", "title: &a Overdue", 2, "YAML's anchors are not read here"),
        ("title: Overdue firms", "title: !!str Overdue", 2, "YAML's tags are not read here"),
        ("title: Overdue firms", "title: [", 4, "this is not YAML"),
        ("2027-01-01T00:00:00Z\n", "2027-02-30T00:00:00Z\n", 17, "`not_after`"),
        ("2027-01-01T00:00:00Z\n", "2027-01-01T00:00:00+08:00\n", 17, "`not_after`"),
        ("not_after: 2027", "not_after: 2025", 17, "A grant has to end after it begins"),
        ("columns: [region, turnover]", "columns: [region, region]", 7, "listed twice"),
        ("role: owner, organisation: tax", "role: owner, organisation: hub", 20, "Every assigner"),
        ("role: operator", "role: owner", 20, "Every assigner"),
        ("assignee: bank", "assignee: hub", 4, "'hub' is the authority"),
        ("kind: industrial, ceiling_cents: 5000", "kind: public-interest", 18, "more than"),
        ("ceiling_cents: 5000", "ceiling_cents: 0", 15, "An industrial use states"),
        ("kind: pay", "kind: gift", 19, "kind"),
        ("dpv:CreditChecking", "dpv:Fun", 14, "`purpose`"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(
    before: str, after: str, line: int, message: str
) -> None:
    assert before in TEXT
    with pytest.raises(GrantInvalid) as refused:
        parse_grant(TEXT.replace(before, after, 1), "grant.yaml")
    assert str(refused.value).startswith(f"grant.yaml:{line}: "), str(refused.value)
    assert message in str(refused.value)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "- a\n",
        "just words",
        "a: *b",
        "? [a]\n: 1",
        "<<: {a: 1}",
        "%YAML 1.1\n---\na: 1",
        "\x00",
    ],
)
def test_what_is_no_mapping_of_plain_values_is_refused(text: str) -> None:
    with pytest.raises(GrantInvalid):
        parse_grant(text, "grant.yaml")


def test_a_file_has_a_limit_and_a_depth() -> None:
    with pytest.raises(GrantInvalid, match="at most"):
        parse_grant("#" * (MAX_GRANT_BYTES + 1), "grant.yaml")
    with pytest.raises(GrantInvalid):
        parse_grant("a: " + "[" * 50 + "]" * 50, "grant.yaml")
    with pytest.raises(GrantInvalid):
        parse_grant("a: " + "{a: " * 5000, "grant.yaml")


def test_a_message_never_quotes_what_was_written() -> None:
    with pytest.raises(GrantInvalid) as refused:
        parse_grant(TEXT.replace("k: 3", "k: 'secret'"), "grant.yaml")
    assert "secret" not in str(refused.value)


def test_words_stay_words() -> None:
    """The Norway problem: what other readers take for a boolean or a time is a text here."""
    text = TEXT.replace("title: Overdue firms      # for people", "title: no")
    assert parse_grant(text, "g").title == "no"
    quoted = TEXT.replace("title: Overdue firms", 'title: "123"')
    assert parse_grant(quoted, "g").title == "123"


@pytest.mark.parametrize(
    "changes",
    [
        {"/permissions/query/outputs": ["table"]},
        {"/permissions": {}},
        {"/assigners": ["tax", "tax"]},
        {"/signers/3/organisation": "statistics"},
        {"/permissions/train/epsilon_micro": 2**53},
        {"/product": "with blanks in it"},
    ],
)
def test_a_rule_holds_for_bytes_as_well(changes: dict[str, object]) -> None:
    with pytest.raises(MessageInvalid):
        grant_of(canonical.encode(put(DOCUMENT, changes)))


def test_a_schema_is_named_by_columns_and_types_in_no_order() -> None:
    one = schema_digest({"a": "number", "b": "text"})
    assert one == schema_digest({"b": "text", "a": "number"})
    assert one != schema_digest({"a": "text", "b": "text"})
    assert one != schema_digest({"a": "number", "b": "text", "c": "text"})
