"""`simulate` for a person: latencies, and what was taken for granted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from model.simulate.run import KEEPS_UP
from servecast.output import cell_text, note, print_table
from servecast.simulation.counted_goodput import goodput_text
from servecast.simulation.engine_overheads import overheads_text

_ENOUGH = 100
"""Requests from which on waits that grow are no chance."""


def say_simulation(answer: Mapping[str, Any]) -> None:
    """A table of the latencies, and a line of the rest; what stands in for what on stderr."""
    for warning in answer["warnings"]:
        note(warning)
    servers = [answer[pool] for pool in ("prefill", "decode") if pool in answer] or [answer]
    for told in dict.fromkeys(overheads_text(one["overheads"]) for one in servers if one["overheads"]["runs"]):
        note(told)
    if answer["kept_up"] < KEEPS_UP and answer["requests"] >= _ENOUGH:
        pace = f"requests come faster than answers begin, which keep {answer['kept_up']:.0%} of their pace"
        note(f"{pace}: waits are those of so many requests, and grow with their number")
    names = ("ttft_s", "tpot_s", "itl_s", "e2e_s")
    print_table(["", *answer["ttft_s"]], [[name, *answer[name].values()] for name in names])
    rest = ("output_tps", "request_tps", "requests", "preemptions", "kv_peak", "duration_s", "cpu_s")
    per = [name for name in ("output_tps_per_gpu", "cost_per_mtok") if answer[name] is not None]
    print(", ".join(f"{name} {cell_text(float(f'{answer[name]:.4g}'))}" for name in (*rest, *per)))
    if "slo" in answer:
        print(goodput_text(answer))
