"""A policy as people write it: plain YAML (:mod:`fusion.wire.plain_yaml`)."""

from __future__ import annotations

from fusion.errors import PolicyInvalid
from fusion.wire.plain_yaml import Written
from sandbox.policy import Policy, broken_rules


def parse_policy(text: str, origin: str) -> Policy:
    """Read a policy that a person wrote.

    Args:
        text: YAML.
        origin: The file's name, for messages.

    Raises:
        PolicyInvalid: Not YAML as it is read here, or a rule is broken; names the line.
    """
    written = Written(origin, PolicyInvalid)
    policy = written.read(Policy, text)
    for path, message in broken_rules(policy):
        raise written.fail(path, message)
    return policy
