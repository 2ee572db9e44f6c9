"""What units of two pools do under a load, as `servecast.predicting.load_curves` says it of whole servers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from model.disagg.units import POOLS
from model.prediction import Floats
from model.tables.said import listening
from perfdb.facts.platforms import platform
from perfdb.records import Provenance
from perfdb.store import Store
from servecast.predicting.disagg import WORKERS, DisaggAsked, asked_of, sides_of, unseen_by_pools
from servecast.predicting.load_curves import Answers, Part, Simulated
from servecast.predicting.whatif import surrogate

if TYPE_CHECKING:
    from model.disagg.answer import Asked
    from model.surrogate import Surrogate

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class PoolsCurve:
    """n deployments, whose workers are known, one unit of each, in closed form with what the database taught."""

    asked: Asked
    model: Surrogate
    names: Sequence[str]
    devices: Ints
    said: set[str] = field(default_factory=set)

    @property
    def warnings(self) -> Sequence[str]:
        """See `Curve`."""
        return sorted(self.said)

    def at(self, loads: Floats) -> Answers:
        """See `Curve`.

        Raises:
            InputError: a metric is not predicted of two pools, or a parameter's value cannot be right.
        """
        from model.disagg.answer import disaggregated

        with listening() as said:
            asked = replace(self.asked, amounts=loads)
            found = disaggregated(asked, self.model.lessons(self.asked.decode), self.model.scenarios)
        self.said.update(said)
        is_rate = self.asked.decode.workload.request_rate is not None
        return Answers(
            {name: found.estimate(name).mean for name in self.names},
            found.metrics["request_tps"].mean / loads if is_rate else np.ones(len(loads)),
            found.feasible,
            found.reasons,
            np.full(len(loads), Provenance.LEARNED if found.learned else Provenance.ROOFLINE),
            found.limits,
        )


def pool_parts(
    asked: DisaggAsked, names: Sequence[str], how: Simulated | None, usd_per_hour: float | None, store: Store
) -> Iterator[Part]:
    """One unit of each deployment: all of them at once, or one by one where they are simulated.

    Workers that are not given are matched to more requests than can be served, on the devices there are.

    Raises:
        See `servecast.predicting.disagg.ask`, and `servecast.simulation.pool_server.pool_server` where they are
        simulated.
    """
    from model.disagg.answer import filled

    model = surrogate(store)
    # steps of the matching are those of the answers, which say what stands in
    with listening():
        question = asked_of(asked, model.shelf)
        chosen, devices = filled(question)
    question = replace(question, deployments=chosen, sharing=replace(asked.sharing, devices=None))
    labels = labels_of(asked, question)
    prices = [usd_per_hour or platform(asked.pool(name).platform).usd_per_hour for name in POOLS]
    hourly: Floats | None = None if None in prices else (devices * np.array(prices, np.float64)).sum(axis=1)
    if how is None:
        curve = PoolsCurve(question, model, names, devices.sum(axis=1), unseen_by_pools(asked))
        yield Part(labels, curve, hourly)
        return
    from servecast.simulation.pool_server import pool_server

    for row, label in enumerate(labels):
        server = partial(pool_server, _single(asked, label), store=store)
        yield Part(
            [label], how.curve(int(devices[row].sum()), server), None if hourly is None else hourly[row : row + 1]
        )


def labels_of(asked: DisaggAsked, question: Asked) -> list[dict[str, Any]]:
    """What each deployment is: "prefill" and "decode", each with config, workers and platform."""
    sides = sides_of(asked, question, question.deployments, np.arange(len(question.deployments.prefill)))
    return [dict(zip(sides, row, strict=True)) for row in zip(*sides.values(), strict=True)]


def _single(asked: DisaggAsked, label: Mapping[str, Mapping[str, Any]]) -> DisaggAsked:
    """The question of one deployment, workers said."""
    sets = {f"{name}.{key}": (value,) for name in POOLS for key, value in label[name]["config"].items()}
    sets |= {f"{name}.{WORKERS}": (label[name]["workers"],) for name in POOLS}
    return replace(asked, asked=replace(asked.asked, sets=sets), sharing=replace(asked.sharing, devices=None))
