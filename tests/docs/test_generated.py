"""Pages made from the code are what the code says now."""

from __future__ import annotations

import pytest

from fusion import errors
from tests.docs.generate import PAGES
from tests.docs.sources import ROOT


@pytest.mark.parametrize("page", PAGES)
def test_page_is_up_to_date(page: str) -> None:
    assert (ROOT / page).read_text("utf-8") == PAGES[page](), "run ./dev docs"


def test_every_error_code_is_used_once() -> None:
    kinds = [errors.FusionError]
    for kind in kinds:
        kinds.extend(kind.__subclasses__())
    ours = [kind for kind in kinds if kind.__module__ == errors.__name__]
    codes = [kind.code for kind in ours]
    assert len(set(codes)) == len(codes)


def test_an_exit_code_follows_from_the_error_code() -> None:
    table = {"F-0": 1, "F-1": 1, "F-2": 2, "F-3": 3, "F-4": 4, "F-5": 5, "F-6": 6}
    kinds = [errors.FusionError]
    for kind in kinds:
        assert kind.exit_code == table[kind.code[:3]]
        kinds.extend(k for k in kind.__subclasses__() if k.__module__ == errors.__name__)
