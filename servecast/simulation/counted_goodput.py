"""The goodput of a simulated run: requests that keep all bounds (see `servecast.predicting.goodput`), counted one by
one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from model.prediction import Floats
from model.simulate.run import Run
from model.steps.overheads import Overheads
from servecast.output import cell_text
from servecast.predicting.goodput import request_bounds
from servecast.predicting.load_curves import simulated_value
from servecast.slo import Slo, check_gaps, met


def judged(answer: Mapping[str, Any], run: Run, added: Overheads, slos: tuple[Slo, ...]) -> dict[str, Any]:
    """What the document of a simulated run says of bounds; nothing where there are none.

    Args:
        answer: the document so far. run: the run. added: what the front ends add to its latencies.
        slos: the bounds.

    Raises:
        InputError: a bounded metric is not simulated, or no answer has it.
    """
    if not slos:
        return {}
    several = run.emitted > 1
    check_gaps(slos, bool(several.any()))
    found = run.latencies(added.request_s, added.token_s)
    gaps = np.full(len(several), np.nan)
    gaps[several] = found["tpot_s"]
    values = {slo.name: np.array([simulated_value(answer, slo.name)]) for slo in slos}
    counts = counted({**found, "tpot_s": gaps}, slos, answer["duration_s"])
    return {"slo": [str(slo) for slo in slos], "meets_slo": bool(met(slos, values)[0]), **counts}


def counted(latencies: Mapping[str, Floats], slos: Sequence[Slo], window_s: float) -> dict[str, float | None]:
    """Of n requests that were served in `window_s` seconds the share that keeps all bounds, and how many that is per
    second; None where no bound is one of a request.

    Args:
        latencies: seconds of each request, n; of a metric that some have not (answers of one token), fewer than n
            with NaN for those. slos: the bounds. window_s: from the first arrival to the last token.
    """
    bounds = request_bounds(slos)
    if not bounds:
        return {"slo_share": None, "goodput_rps": None}
    # what a request has not, it cannot break
    kept = np.all([~(latencies[name] > limit) for name, limit in bounds.items()], axis=0)
    return {"slo_share": float(kept.mean()), "goodput_rps": float(kept.sum() / window_s)}


def goodput_text(answer: Mapping[str, Any]) -> str:
    """One line on the bounds of a simulated run."""
    bounds = ", ".join(answer["slo"])
    whole = f"the run as a whole {'keeps' if answer['meets_slo'] else 'breaks'} {bounds}"
    if answer["slo_share"] is None:
        return whole
    rates = f"{cell_text(answer['goodput_rps'])} of {cell_text(answer['request_tps'])} requests/s"
    return f"goodput {rates}: {answer['slo_share']:.1%} of requests keep {bounds}; {whole}"
