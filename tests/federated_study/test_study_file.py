"""A study file is refused by the line, and reads the same from file and from wire."""

from __future__ import annotations

import contextlib
import json
from importlib import resources

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federated.study import MAX_STUDY_BYTES, Study, parse_study
from federated.study_document import MAX_CATEGORIES
from fusion.errors import FusionError, MessageInvalid, StudyInvalid
from fusion.wire import canonical
from tests.federated_study.studies import TEXT, edited, study

DEMO = resources.files("federated") / "demo"


def refusal(*changes: tuple[str, str]) -> StudyInvalid:
    with pytest.raises(StudyInvalid) as caught:
        parse_study(edited(*changes), "small.toml")
    assert caught.value.exit_code == 2
    return caught.value


def line(text: str, piece: str) -> int:
    """Return the number of the first line with ``piece``."""
    return next(n for n, each in enumerate(text.splitlines(), 1) if piece in each)


CASES = [
    # what is wrong, what it is replaced by, where the message points, what it says
    ("rounds = 3", "rouns = 3", "rouns", "`rouns` is no key of [study]"),
    ("rounds = 3", 'rounds = "3"', "rounds", "`rounds` should be a valid integer"),
    ("rounds = 3", "rounds = true", "rounds", "`rounds` should be a valid integer"),
    ("rounds = 3", "rounds = 3.0", "rounds", "`rounds` should be a valid integer"),
    ("rounds = 3", "rounds = 0", "rounds", "`rounds` should be greater than or equal to 1"),
    ("rounds = 3\n", "", "[study]", "[study] lacks `rounds`"),
    ("quorum = 2", "quorum = 1", "quorum", "`quorum` should be greater than or equal to 2"),
    ("quorum = 2", "quorum = 4", "quorum", "`quorum` is 4, but the study names 3"),
    ("holdout = 0.25", "holdout = 0.6", "holdout", "less than or equal to 0.5"),
    ("holdout = 0.25", "holdout = nan", "holdout", "`holdout` should be"),
    ("holdout = 0.25", "holdout = 0", "holdout", "greater than 0"),
    ("max_rows = 1000", "max_rows = 17000000", "max_rows", "24 bits count less"),
    ('positive = "yes"', "positive = []", "positive", "`positive` should be a word or a number"),
    ('positive = "yes"', "positive = true", "positive", "`positive` should be a word or a number"),
    ('positive = "yes"', "positive = nan", "positive", "`positive` should be a word or a number"),
    ('positive = "yes"', "positive = 1e17", "positive", "`positive` should be a word or a number"),
    ('positive = "yes"', "positive = 2024-01-01", "positive", "`positive` should be a word or a"),
    ('"south", "west"]\nq', '"Sou th"]\nq', "organisations", "not an organisation identifier"),
    ('"south", "west"]\nq', '"north"]\nq', "organisations", "'north' is listed twice"),
    ('kind = "logistic"', 'kind = "forest"', "forest", "`kind` has to be one of"),
    ('kind = "logistic"', "l2 = 0.1", "[model]", "[model] lacks `kind`"),
    ('kind = "logistic"', 'kind = "mlp"', "[model]", "[model] lacks `hidden`"),
    ('kind = "logistic"', 'kind = "mlp"\nhidden = []', "hidden", "`hidden` should have at least 1"),
    ('kind = "logistic"', 'kind = "mlp"\nhidden = [4096,\n4096]', "hidden", "parameters"),
    (
        'kind = "logistic"',
        'kind = "mlp"\nhidden = [999]\n[aggregation]\nvalue_bits = 12',
        "hidden",
        "4095 is the limit",
    ),
    ("threshold = 2", "threshold = 1", "threshold", "greater than or equal to 2"),
    ("threshold = 2", "threshold = 4", "threshold", "has to be a majority"),
    ("threshold = 2", "threshold = 2\nbits = 1024", "bits", "2048, 3072 or 4096"),
    ('["north", "south", "west"]\n\n', '["north", "east"]\n\n', "east", "east is not one of"),
    ("[key]", "[aggregation]\nclip = 9\n[key]", "clip", "`clip` should be less than or equal to 8"),
    ("[key]", "[deadlines]\ntrain = 0\n[key]", "train = 0", "greater than 0"),
    ("max = 100", "max = 0", "max = 0", "`max` has to be greater than `min`"),
    ("max = 100", "maxi = 100", "maxi", "`maxi` is no key of [[columns]]"),
    ('name = "town"', 'name = "age"', "PLACE:3", "'age' is declared twice"),
    ('name = "town"', 'name = "ill"', '"ill"\ntype', "is the label"),
    ('["a", "b", "c"]', '["a",\n"b",\n"a"]', "PLACE:35", "'a' is listed twice"),
    ('["a", "b", "c"]', '["a",\n3]', "3]", "Item 2 of `categories` should be a valid string"),
    ("[local]", "[locale]", "[locale]", "`locale` is no key of a study file"),
    ("rounds = 3", "rounds = = 3", "rounds", "not TOML"),
    ("rounds = 3", "rounds = 3\nrounds = 4", "rounds = 4", "not TOML"),
]


@pytest.mark.parametrize(("old", "new", "place", "says"), CASES)
def test_what_is_wrong_is_named_with_its_line(old: str, new: str, place: str, says: str) -> None:
    error = refusal((old, new))
    assert says in error.message
    origin, number, _ = error.message.split(":", 2)
    assert origin == "small.toml"
    named = edited((old, new)).splitlines()[int(number) - 1]
    if place.startswith("PLACE"):
        assert named in {'name = "age"', '"a"]'}
    else:
        assert place.splitlines()[0] in named


@pytest.mark.parametrize(
    ("old", "new", "suggestion"),
    [
        ("rounds = 3", "rouns = 3", "Did you mean `rounds`?"),
        ("[optimiser]", "[optimizer]", "Did you mean `optimiser`?"),
        ("max = 100", "maxx = 100", "Did you mean `max`?"),
        ('kind = "fedavg"', 'kind = "fedavgm"\nmomentun = 0.5', "Did you mean `momentum`?"),
        ("rounds = 3", "zzz = 3", "Known keys: name, dataset,"),
    ],
)
def test_an_unknown_key_gets_a_suggestion(old: str, new: str, suggestion: str) -> None:
    assert suggestion in refusal((old, new)).hint


def test_a_key_of_another_kind_is_unknown() -> None:
    error = refusal(('kind = "fedavg"', 'kind = "fedavg"\nbeta1 = 0.9'))
    assert "`beta1` is no key of [optimiser]" in error.message
    assert "beta1" not in error.hint


def test_further_problems_are_counted() -> None:
    message = refusal(("rounds = 3", "rounds = 0"), ("batch = 8", "batch = 0")).message
    assert message.endswith("(1 more)")


def test_more_features_than_the_limit_are_refused() -> None:
    categories = json.dumps([str(number) for number in range(MAX_CATEGORIES)])
    column = f'[[columns]]\nname = "NAME"\ntype = "category"\ncategories = {categories}\n'
    text = TEXT + "".join(column.replace("NAME", f"c{index}") for index in range(11))
    with pytest.raises(StudyInvalid, match=r":28: .* make 110005 features") as caught:
        parse_study(text, "small.toml")
    assert "fewer categories" in caught.value.hint


def test_a_file_without_end_is_too_large() -> None:
    with pytest.raises(StudyInvalid, match="at most"):
        parse_study(TEXT + "#" * MAX_STUDY_BYTES, "small.toml")


def test_deep_nesting_is_refused() -> None:
    with pytest.raises(StudyInvalid):
        parse_study("x = " + "[" * 5000 + "]" * 5000, "small.toml")


@given(st.text(max_size=200))
def test_any_text_is_read_or_refused(text: str) -> None:
    with pytest.raises(StudyInvalid):
        parse_study(text, "small.toml")


@given(
    st.integers(0, len(TEXT) - 1), st.sampled_from(['"', "[", "]", "=", "\n", "#", "x", "-", ""])
)
def test_any_slip_of_the_pen_is_read_or_refused(at: int, put: str) -> None:
    with contextlib.suppress(StudyInvalid):
        parse_study(TEXT[:at] + put + TEXT[at + 1 :], "small.toml")


# ---------------------------------------------------------------------------- meaning


def test_defaults_are_filled_in() -> None:
    small = study()
    assert (small.aggregation.value_bits, small.aggregation.clip) == (24, 2.0)
    assert (small.aggregation.score_bins, small.key.bits) == (256, 3072)
    assert small.local.proximal == 0.0
    assert small.features == 5
    assert small.text_columns == ("town", "ill")


@pytest.mark.parametrize("name", ["study.toml", "study-mlp.toml"])
def test_the_demo_studies_are_accepted(name: str) -> None:
    demo = parse_study((DEMO / name).read_text("utf-8"), name)
    assert len(demo.organisations) == 4
    assert demo.key.threshold == 3


def test_two_spellings_of_one_study_have_one_digest() -> None:
    spelt = study(("rounds = 3", "rounds = 0x03 # three"), ("max = 100", "max = 1e2"))
    assert spelt.digest() == study().digest()
    assert study(("rounds = 3", "rounds = 4")).digest() != study().digest()


# ------------------------------------------------------------------------------- wire


PRINTED = st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"])


@given(
    rounds=st.integers(1, 10_000),
    seed=st.integers(0, 2**53 - 1),
    rate=st.floats(1e-9, 100),
    positive=st.one_of(st.text(PRINTED, max_size=5), st.integers(-5, 5), st.floats(-5, 5)),
)
def test_a_study_survives_the_wire(
    rounds: int, seed: int, rate: float, positive: str | float
) -> None:
    sent = study(
        ("rounds = 3", f"rounds = {rounds}"),
        ("seed = 5", f"seed = {seed}"),
        ("learning_rate = 0.1", f"learning_rate = {rate!r}"),
        ('"yes"', json.dumps(positive, ensure_ascii=False)),
    )
    got = Study.from_canonical(sent.canonical())
    assert got == sent
    assert got.digest() == sent.digest()


def changed(**study_keys: object) -> bytes:
    document = canonical.decode(study().canonical())
    document["study"] |= study_keys
    return canonical.encode(document)


@pytest.mark.parametrize(
    ("key", "value"),
    [("quorum", 1), ("rounds", 0), ("extra", 1), ("holdout", 2), ("organisations", ["a"])],
)
def test_a_hub_is_held_to_the_rules_of_the_file(key: str, value: object) -> None:
    with pytest.raises(StudyInvalid, match=rf"^study: study\.{key}"):
        Study.from_canonical(changed(**{key: value}))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"{}",
        b"\xff",
        b'{"schema":"fusion.study/2"}',
        b'{"schema":"fusion.study/1", "study":{}}',
        b" " * (MAX_STUDY_BYTES + 1),
    ],
)
def test_bytes_that_are_no_study_are_refused(data: bytes) -> None:
    with pytest.raises(MessageInvalid):
        Study.from_canonical(data)


def test_a_study_on_the_wire_states_its_defaults() -> None:
    document = canonical.decode(study().canonical())
    del document["deadlines"]
    with pytest.raises(MessageInvalid):
        Study.from_canonical(canonical.encode(document))


@given(st.integers(0, 10_000), st.integers(0, 255))
def test_one_changed_byte_is_refused_or_another_study(at: int, byte: int) -> None:
    data = bytearray(study().canonical())
    data[at % len(data)] = byte
    try:
        got = Study.from_canonical(bytes(data))
    except FusionError:
        return
    assert got.canonical() == bytes(data)
