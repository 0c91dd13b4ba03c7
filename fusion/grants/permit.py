"""The permit: the one thing that an engine takes as proof of a decision, good for one use.

Only :func:`fusion.grants.decide.decide` makes one. It can't be built, copied, pickled or
subclassed elsewhere by mistake. It is no defence against hostile code in the same process, which
could do without it: that is the node's own account (``docs/threat-model.md``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NoReturn

from fusion.errors import GrantRefused

if TYPE_CHECKING:
    from datetime import datetime

    from fusion.grants.budget import Amount, Cap
    from fusion.grants.request import Request

_SEAL: Final = object()


class Permit:
    """Leave to carry out one request.

    Attributes:
        grant: Id of the grant.
        request: What is permitted, with its limits (k, rounds, rows, ...): that, and no more.
        cost: What has to be reserved before the work begins.
        cap: The budget's caps.
        expires: Work that is still going on then has to stop.
    """

    __slots__ = ("_left", "cap", "cost", "expires", "grant", "request")

    grant: str
    request: Request
    cost: Amount
    cap: Cap
    expires: datetime
    _left: list[object]

    def __init__(self, seal: object, **values: Any) -> None:  # noqa: ANN401 - the attributes
        """Refuse whoever is not the decision.

        Raises:
            GrantRefused: Always, elsewhere.
        """
        if seal is not _SEAL:
            raise GrantRefused("A permit is made by a decision and by nothing else.")
        for name in ("grant", "request", "cost", "cap", "expires"):
            object.__setattr__(self, name, values[name])
        object.__setattr__(self, "_left", [_SEAL])

    def __init_subclass__(cls) -> None:
        """Refuse a subclass, which could bring its own construction."""
        raise TypeError("A permit has no subclasses.")

    def __setattr__(self, name: str, value: object) -> NoReturn:
        """Refuse a change."""
        raise AttributeError("A permit is not changed.")

    def __delattr__(self, name: str) -> NoReturn:
        """Refuse a change."""
        raise AttributeError("A permit is not changed.")

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        """Refuse to be copied or written down."""
        raise TypeError("A permit is neither copied nor stored.")

    def __copy__(self) -> NoReturn:
        """Refuse to be copied."""
        raise TypeError("A permit is not copied.")

    def __deepcopy__(self, memo: object) -> NoReturn:
        """Refuse to be copied."""
        raise TypeError("A permit is not copied.")

    def __repr__(self) -> str:
        """Name the grant and the job."""
        return f"<Permit {self.request.action} {self.request.job} under {self.grant[:16]}>"

    @property
    def spent(self) -> bool:
        """Whether it has been used."""
        return not self._left

    def spend(self) -> None:
        """Use the permit up.

        Raises:
            GrantRefused: It was used before.
        """
        try:
            # One operation of the interpreter: of two threads, one gets it.
            mark = self._left.pop()
        except IndexError:
            raise GrantRefused("This permit has been used; ask for a new decision.") from None
        if mark is not _SEAL:
            raise GrantRefused("This is not a permit that a decision made.")


def _issue(**values: Any) -> Permit:  # noqa: ANN401 - the attributes of a permit
    """Make a permit; for :mod:`fusion.grants.decide` alone (a test looks who imports this)."""
    return Permit(_SEAL, **values)
