"""What is told beside the numbers of `whatif`, at a terminal and on a page: how both ways compare, and what the numbers
take for granted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from model.closed_form.queueing import MOST_LOAD
from perfdb.records import Provenance

_NEAR = 0.9
"""Share of the capacity from which on a rate is too near to it to be sure of its waits."""
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


def means_text(isl: float, osl: float) -> str:
    """What is assumed of a closed loop of which mean lengths alone are known."""
    what = "--isl and --osl are means of lengths that may differ: half of the requests are taken to stay in step"
    return f'{what}; if all are equal, say --scenario "D({isl:g},{osl:g})" instead'


def overload_texts(answer: Mapping[str, Any], rate: float | None) -> list[str]:
    """A sentence where configs serve less than the `rate` of requests/s that comes, and one where they may; not on what
    was measured, which ends with the run."""
    rows = [row for row in answer["rows"] if row["feasible"] and row["provenance"] != Provenance.MEASURED]
    behind = [row for row in rows if row["request_tps"]["mean"] < MOST_LOAD * (rate or 0.0)]
    busy = [row.get("utilisation") for row in rows if row not in behind]
    near = [share for share in busy if isinstance(share, float) and share > _NEAR]  # of pools it is one per stage
    said = []
    if behind:
        most = max(row["request_tps"]["mean"] for row in behind)
        what = f"{_who(behind, answer)} less than the {rate:g} requests/s that come ({most:.3g} at most)"
        said.append(f"{what}: waits grow for as long as they do, and ttft_s and e2e_s are those of a short run")
    if near:
        share = f"{min(near):.0%}" if len(near) == 1 else f"{min(near):.0%} or more"
        what = f"{_who(near, answer)} {rate:g} requests/s at {share} of the most that the closed form gives"
        said.append(f"{what}: so near to it, a small error of that turns waits of milliseconds into minutes")
    return said


def _who(some: Sequence[Any], answer: Mapping[str, Any]) -> str:
    if len(answer["rows"]) == 1:
        return "the config serves"
    return f"{len(some)} of these configs serve{'s' if len(some) == 1 else ''}"


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
