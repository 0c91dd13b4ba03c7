"""The document of :mod:`benchmarks.encryption` as lines for a terminal."""

from __future__ import annotations

from typing import Any, Final

from benchmarks.workload import STEPS

_HEAD: Final = (
    "system", "engine", "randomiser", "s", "security", "cores",
    *STEPS, "bytes/param", "max error",
)  # fmt: skip


def table(document: dict[str, Any]) -> str:
    """Return the results as columns, seconds of CPU; what is extrapolated has a ``~``."""
    rows = [_HEAD, *(_cells(entry) for entry in document["results"])]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEAD))]
    machine = document["machine"]
    width = f"{document['value_bits']}+{document['guard_bits']} bits a slot"
    lines = [
        f"{document['parameters']:,} parameters, {document['clients']} clients",
        f"{document['bits']} bits, {width}, {document['slots']} slots",
        f"{machine['processor']}, {machine['cores']} cores, load {machine['load_before']}",
        "seconds of CPU for the whole vector; ~ measured on a part; [by the clock] on all cores",
        "",
    ]
    for row in rows:
        left = [cell.ljust(width) for cell, width in zip(row[:3], widths[:3], strict=True)]
        right = [cell.rjust(width) for cell, width in zip(row[3:], widths[3:], strict=True)]
        lines.append("  ".join([*left, *right]).rstrip())
    lines.append("")
    lines.extend(f"left out: {gone['system']}: {gone['reason']}" for gone in document["missing"])
    if "memory" in document:
        memory = document["memory"]
        lines.append(
            f"memory: encrypting with {memory['engine']} peaks "
            f"{memory['peak_above_start_bytes'] / 2**20:.1f} MiB above the start, "
            f"{memory['times_the_ciphertext']} times the ciphertext"
        )
    lines.extend(document["notes"])
    return "\n".join(lines)


def _cells(entry: dict[str, Any]) -> tuple[str, ...]:
    """Return one line of the table."""
    return (
        entry["system"],
        entry["engine"] or "",
        entry["randomiser"],
        str(entry["degree"] or ""),
        str(entry["security_bits"]),
        str(entry["threads"]),
        *(_seconds(entry, step) for step in STEPS),
        f"{entry['bytes_per_parameter']:.2f}",
        f"{entry['max_abs_error']:.1e}",
    )


def _seconds(entry: dict[str, Any], step: str) -> str:
    seconds = entry[f"{step}_s"]
    if seconds is None:
        return "-"
    mark = "~" if step in entry["extrapolated_steps"] else ""
    clock = f" [{_short(entry['wall_s'][step])}]" if entry["threads"] > 1 else ""
    return f"{mark}{_short(seconds)}{clock}"


def _short(seconds: float) -> str:
    """Three digits are all that a measurement is good for."""
    return f"{seconds:,.0f}" if seconds >= 100 else f"{seconds:#.3g}"
