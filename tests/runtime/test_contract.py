"""What is relied on in Flower is there in the pinned version, and what is not would be said."""

from __future__ import annotations

import pytest
from flwr.supercore.inflatable import inflatable_utils

from federated.runtime import contract
from federated.runtime.bundle import bundle
from federated.runtime.patience import PATIENCE, shorten
from fusion.errors import EnvironmentUnfit


@pytest.mark.parametrize("at_node", [True, False])
def test_the_pinned_flower_is_as_this_release_needs_it(at_node: bool) -> None:
    assert contract.violations(at_node=at_node) == []
    contract.check()


@pytest.mark.parametrize(
    ("reference", "wanted", "said"),
    [
        ("flwr.app:Gone", ("x",), "is gone"),
        ("flwr.gone:Message", ("x",), "is gone"),
        ("flwr.common.serde:message_to_proto", ("envelope",), "no longer takes envelope"),
    ],
)
def test_a_changed_function_is_named(reference: str, wanted: tuple[str, ...], said: str) -> None:
    (found,) = contract.missing_parameters({reference: wanted})
    assert found.startswith(reference)
    assert said in found


@pytest.mark.parametrize(
    ("reference", "wanted", "said"),
    [
        ("flwr.proto.fleet_pb2:GoneRequest", ("node",), "is gone"),
        ("flwr.proto.fleet_pb2:PullMessagesRequest", ("cursor",), "no longer has cursor"),
    ],
)
def test_a_changed_message_is_named(reference: str, wanted: tuple[str, ...], said: str) -> None:
    (found,) = contract.missing_fields({reference: wanted})
    assert found.startswith(reference)
    assert said in found


def test_shortening_flowers_patience_twice_changes_nothing() -> None:
    shorten()
    shorten()
    defaults = inflatable_utils.pull_objects.__kwdefaults__ or {}
    assert {name: defaults[name] for name in PATIENCE} == dict(PATIENCE)


def test_the_bundle_is_the_same_bytes_each_time() -> None:
    first = bundle()
    bundle.cache_clear()
    assert bundle() == first


def test_a_violation_stops_who_asks_for_a_check() -> None:
    with pytest.raises(EnvironmentUnfit, match="is gone"):
        contract.refuse(["flwr.app:Message is gone"])
