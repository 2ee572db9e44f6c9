"""What is told beside the numbers of `whatif`, at a terminal and on a page: how both ways compare, and what the numbers
take for granted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

NOT_SEEN = "not_modelled"
"""Where a document says what of its load the closed form does not see."""


def notes_of(answer: Mapping[str, Any]) -> list[str]:
    """Sentences on a document of `whatif`, of any mode."""
    compared = [_compared(answer)] if answer["mode"] == "both" else []
    terms = [] if answer["mode"] == "agg" else _terms(answer)
    return [*compared, *terms, *answer["warnings"]]


def unseen_text(names: Sequence[str]) -> str:
    """What of a load the closed form does not see."""
    return f"not seen by the closed form: {', '.join(names)}; servecast simulate serves them"


def link_text(answer: Mapping[str, Any]) -> str:
    """How fast two pools move KV caches."""
    return f"KV caches move at {answer['link_bytes_s'] / 1e9:g} GB/s from device to device (--link)"


def _compared(answer: Mapping[str, Any]) -> str:
    best, bounds = answer["best"], f" that keeps {', '.join(answer['slo'])}" if answer["slo"] else ""
    none = [name for name in ("agg", "disagg") if best[name] is None]
    if none:
        return f"no deployment of {' or '.join(none)}{bounds or ' fits'}"
    if best["ratio"] is None:
        each = (
            f"{mode} takes {found['gpus_needed']} GPUs ({_e2e_text(found)})" for mode, found in best["carried"].items()
        )
        return f"both ways carry the whole rate, so their throughput is the same; for it {', '.join(each)}"
    said = f"the best disagg deployment{bounds} has {best['ratio']:.2f} x the throughput per GPU of the best agg one"
    return f"{said} at this load, by central values"


def _e2e_text(found: Mapping[str, float]) -> str:
    """What a request takes on the fewest devices, and on all there are."""
    return f"a request {found['e2e_s']:.3g} s; on all there are {found['shortest_e2e_s']:.3g} s"


def _terms(answer: Mapping[str, Any]) -> list[str]:
    """The link, the efficiency, and how sure the numbers are."""
    said = [link_text(answer)]
    if any(row["replicas"] > 1 for row in answer["rows"]):
        said.append(f"each of several units serves {answer['efficiency']:.0%} of what it serves alone (--efficiency)")
    return [*said, "intervals of two pools are wide priors: none of the runs learned from had any (validated: false)"]
