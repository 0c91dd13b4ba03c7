"""The catalogue for others to look at: the entity graph as page and drawing, DCAT."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args

from fusion.catalogue import dcat
from fusion.catalogue.descriptor import Action
from fusion.catalogue.graph import graph_of
from fusion.grants.signing import Standing
from fusion.identity.members import AUTHORITY
from fusion.reports.catalogue import catalogue_page
from fusion.reports.entities import entity_graph
from fusion.reports.page import standalone
from fusion.services import catalogue, grants
from fusion.services.clock import SystemClock, timestamp
from fusion.services.homes import HubHome

if TYPE_CHECKING:
    from collections.abc import Callable

    from fusion.catalogue.graph import EntityGraph
    from fusion.services.catalogue import Home


def graph(home: Home, note: Callable[[str], None]) -> EntityGraph:
    """Return the entity graph of what is known here, with the grants that hold here.

    Args:
        home: A node or the hub.
        note: Told of what does not verify and is left out.
    """
    descriptors = [signed.descriptor for signed in catalogue.folder_of(home).all(note=note)]
    granted: list[tuple[str, str, str, tuple[str, ...]]] = []
    if isinstance(home, HubHome) or home.enrolled:
        for kept in grants.folder_of(home).readable(note):
            if kept.standing is not Standing.FINALIZED:
                continue
            grant = kept.signed.grant
            actions = tuple(a for a in get_args(Action) if grant.permission(a) is not None)
            granted += [(o, grant.dataset.id, grant.assignee, actions) for o in grant.assigners]
    return graph_of(descriptors, granted)


def page(home: Home, found: EntityGraph, language: str) -> str:
    """Return the graph as one HTML file."""
    made = timestamp(SystemClock().now())[:10]
    return catalogue_page(found, who(home), made, language)


def picture(found: EntityGraph, language: str) -> str:
    """Return the graph as a drawing in a file of its own."""
    return standalone(entity_graph(found), language)


def who(home: Home) -> str:
    """Return whose view of the catalogue a folder has."""
    return AUTHORITY if isinstance(home, HubHome) else home.config.id


def as_dcat(home: Home, note: Callable[[str], None]) -> tuple[dict[str, Any], list[str]]:
    """Return what is known here as a DCAT catalogue, and the datasets left out of it.

    Args:
        home: A node or the hub.
        note: Told of what does not verify and is left out.
    """
    known = [signed.descriptor for signed in catalogue.folder_of(home).all(note=note)]
    enrolled = isinstance(home, HubHome) or home.enrolled
    document = dcat.export(
        known,
        federation=home.roster().federation if enrolled else who(home),
        publisher=who(home),
        made=timestamp(SystemClock().now()),
    )
    return document, [each.name for each in known if not dcat.exportable(each)]
