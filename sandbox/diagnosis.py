"""Says which isolation this machine offers: what ``fusion doctor`` asks for by entry point."""

from __future__ import annotations

from sandbox import choice, service_user


class Diagnosis:
    """:class:`fusion.engine_ports.IsolationDiagnosis`."""

    def examine(self, account: str = service_user.DEFAULT) -> tuple[bool, str, str]:
        """Try both isolations with a probe."""
        verdicts = {kind: choice.examine(kind, account) for kind in choice.KINDS}
        works = [kind for kind, verdict in verdicts.items() if not verdict.reason]
        words = [
            f"{kind}: {verdict.reason or f'{verdict.doors} of {verdict.doors} doors shut'}"
            for kind, verdict in verdicts.items()
        ]
        if not works:
            return False, "; ".join(words), choice.INSTALL
        better_is_missing = choice.KINDS[0] not in works
        head = f"untrusted work runs in {works[0]}"
        return (
            True,
            f"{head} ({'; '.join(words)})",
            choice.INSTALL_BETTER if better_is_missing else "",
        )


DIAGNOSIS = Diagnosis()
"""Registered as ``isolation`` in the entry points ``fusion.engines``."""
