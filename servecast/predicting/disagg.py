"""`whatif` with prefill and decode on devices of their own: the product of both pools' parameters, asked and told."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from model.checkpoint.architecture import resolve_model
from model.disagg.pools import link_bytes_s
from model.disagg.units import POOLS, Deployments, Sharing
from model.prediction import Bools
from model.question import Question
from model.tables.said import listening
from perfdb.errors import InputError, UnknownNameError
from perfdb.facts.platforms import platform
from perfdb.records import Grid, Provenance, Scalar, Target
from perfdb.store import Store
from search.space import MOST_CONFIGS
from servecast.predicting.goodput import judged_row
from servecast.predicting.parameters import own_names, unseen_parameters
from servecast.predicting.whatif import WhatIf, surrogate
from servecast.predicting.whatif_rows import SHOWN, intervals
from servecast.slo import Slo, met

if TYPE_CHECKING:
    from model.disagg.answer import Answer, Asked
    from model.tables.shelf import Shelf

WORKERS = "replicas"
"""The parameter of a pool that is its number of workers."""
_MOST_WORKERS = 1_000_000


@dataclass(frozen=True)
class DisaggAsked:
    """What is asked: `asked` with parameters of both pools, or of one as "prefill.tp", on the prefill pool's platform;
    the decode pool's, if it is another; and how devices are shared out."""

    asked: WhatIf
    decode_platform: str | None
    sharing: Sharing

    def __post_init__(self) -> None:
        """Refuse a list: each of its configs would be of two pools."""
        if self.asked.listed is not None:
            raise InputError.at("--configs", "a list is of whole servers", "--mode agg, or --set of both pools")

    @property
    def link_bytes_s(self) -> float:
        """Bytes/s from a device of one pool to one of the other: as said, else as the platforms have it."""
        return self.sharing.link or link_bytes_s(*(platform(self.pool(name).platform) for name in POOLS))

    def pool(self, name: str) -> WhatIf:
        """The question of one pool: its parameters and its platform, of one worker.

        Raises:
            UnknownNameError: the engine has no such parameter. InputError: two names mean the same one.
        """
        given: dict[bool, dict[str, tuple[Scalar, ...]]] = {False: {}, True: {}}
        for text, values in self.asked.sets.items():
            of, dot, parameter = text.rpartition(".")
            if dot and of not in POOLS:
                raise UnknownNameError.of("pool", of, POOLS)
            if of in {"", name} and parameter != WORKERS:
                given[bool(dot)][parameter] = values
        own = {key: values for mine in given.values() for key, values in own_names(self.asked.facts, mine).items()}
        place = self.decode_platform if name == "decode" else None
        return replace(self.asked, sets=own, platform=self.asked.platform if place is None else place, devices=None)

    def workers(self, name: str) -> tuple[int, ...]:
        """The numbers of workers of a pool that are asked for; a single 0 where they are to match.

        Raises:
            InputError: one is no whole number above zero.
        """
        if WORKERS in self.asked.sets:
            raise InputError.at(f"--set {WORKERS}", "of which pool?", " and ".join(f"{p}.{WORKERS}" for p in POOLS))
        found = self.asked.sets.get(f"{name}.{WORKERS}")
        if found is None:
            return (0,)
        for value in found:
            if isinstance(value, bool) or not isinstance(value, int) or not 0 < value <= _MOST_WORKERS:
                raise InputError.at(f"--set {name}.{WORKERS}", f"{value!r}", "whole numbers of workers")
        return tuple(value for value in found if isinstance(value, int))


@dataclass(frozen=True)
class Pair:
    """What the model was asked, and its answer."""

    asked: Asked
    answer: Answer
    said: frozenset[str] = frozenset()

    @property
    def order(self) -> npt.NDArray[np.int64]:
        """All rows, those that fit and have the most output tokens/s per device first."""
        score = self.answer.metrics["output_tps_per_gpu"].log_mean
        return np.argsort(np.where(self.answer.feasible, -score, np.inf), kind="stable")

    @property
    def warnings(self) -> list[str]:
        """What stands in for operations that were not measured."""
        return sorted(self.said)


def ask(asked: DisaggAsked, store: Store) -> Pair:
    """Predict the product of all values of both pools.

    Raises:
        InputError: the load, a parameter or the number of combinations cannot be. UnknownNameError: a name is not
            known. ModelError, FileError: the model's files.
    """
    from model.disagg.answer import disaggregated

    model = surrogate(store)
    with listening() as said:
        question = asked_of(asked, model.shelf)
        answer = disaggregated(question, model.lessons(question.decode), model.scenarios)
    return Pair(question, answer, frozenset({*said, *unseen_by_pools(asked)}))


def asked_of(asked: DisaggAsked, shelf: Shelf) -> Asked:
    """The product of all values of both pools, for the model.

    Raises:
        See `ask`.
    """
    from model.disagg.answer import Asked

    if asked.asked.facts.name == "llamacpp":
        raise InputError.at("--mode disagg", "llama.cpp prefills and decodes in one server", "vllm, sglang or trtllm")
    prefill, decode = (_question(asked.pool(name), shelf) for name in POOLS)
    sizes = (len(prefill.grid), len(decode.grid), *(len(asked.workers(name)) for name in POOLS))
    if np.prod(sizes, dtype=float) > MOST_CONFIGS:
        raise InputError.at("--set", f"{np.prod(sizes, dtype=float):,.0f} combinations", f"at most {MOST_CONFIGS:,}")
    places = [axis.ravel() for axis in np.meshgrid(*(np.arange(size) for size in sizes), indexing="ij")]
    counts = [np.array(asked.workers(name), np.int64)[place] for name, place in zip(POOLS, places[2:], strict=True)]
    return Asked(prefill, decode, Deployments(*places[:2], *counts), asked.sharing)


def unseen_by_pools(asked: DisaggAsked) -> set[str]:
    """Sentences about parameters that change nothing that the closed form knows of."""
    return {text for name in POOLS for text in unseen_parameters(asked.asked.facts, asked.pool(name).sets)}


def _question(asked: WhatIf, shelf: Shelf) -> Question:
    architecture, hardware = resolve_model(asked.model), platform(asked.platform)
    target = Target(architecture.name, hardware.name, asked.facts.name, 1, asked.version)
    return Question(target, architecture, hardware, asked.workload, asked.grid(), shelf, asked.reused)


def kept_by_pools(pair: Pair, slos: tuple[Slo, ...]) -> Bools:
    """Which deployments keep all bounds by central values, `n`.

    Raises:
        InputError: a metric is not predicted of two pools.
    """
    if not slos:
        return np.ones(len(pair.answer.feasible), dtype=bool)
    return met(slos, {slo.name: pair.answer.estimate(slo.name).mean for slo in slos})


def disagg(
    asked: DisaggAsked,
    store: Store,
    explained: bool = False,
    most: int | None = None,
    slos: tuple[Slo, ...] = (),
) -> dict[str, Any]:
    """Predict all deployments; returns the document of the command.

    Args:
        asked: the question.
        store: what is known.
        explained: "explain" holds the best deployment: which pool limits it, and where the time goes.
        most: "rows" holds only so many, those that fit, keep the bounds and have the best throughput per device first;
            else all.
        slos: bounds, of which each row says whether it keeps them, and the goodput.

    Raises:
        See `ask`; InputError also where a metric cannot be bounded.
    """
    started = time.process_time()
    pair = ask(asked, store)
    kept = kept_by_pools(pair, slos)
    order = pair.order[np.argsort(~kept[pair.order] & pair.answer.feasible[pair.order], kind="stable")]
    shown = np.arange(len(order)) if most is None else order[:most]
    rows = rows_of(asked, pair, shown, slos)
    if slos:
        rows = [
            {**row, **judged_row(row, slos, good, asked.asked.workload)}
            for row, good in zip(rows, kept[shown].tolist(), strict=True)
        ]
    document = {"mode": "disagg", "rows": rows, "configs": len(order), **terms_of(pair)}
    if slos:
        document["slo"] = [str(slo) for slo in slos]
    if explained:
        document["explain"] = _explained(asked, pair, int(order[0]))
    return {**document, "cpu_s": time.process_time() - started}


def terms_of(pair: Pair) -> dict[str, Any]:
    """What stands behind the numbers."""
    return {
        "warnings": pair.warnings,
        "link_bytes_s": pair.asked.link_bytes_s,
        "efficiency": pair.asked.sharing.efficiency,
        "validated": False,
    }


def rows_of(
    asked: DisaggAsked, pair: Pair, at: npt.NDArray[np.int64], slos: tuple[Slo, ...] = ()
) -> list[dict[str, Any]]:
    """One object for each deployment `at` its place, with the metrics of a row and those that `slos` bound; columns
    are turned whole, for there may be 100,000."""
    answer, chosen = pair.answer, pair.answer.deployments
    names = dict.fromkeys([*SHOWN, *(slo.name for slo in slos)])
    busy = [share[at].tolist() for share in answer.utilisation.values()]
    parts: dict[str, Any] = {
        **sides_of(asked, pair.asked, chosen, at),
        "replicas": answer.replicas[at].tolist(),
        "gpus": answer.gpus[at].tolist(),
        "left_over": answer.left_over[at].tolist(),
        "feasible": answer.feasible[at].tolist(),
        "reason": map(answer.reasons.get, at.tolist()),
        **{name: intervals(answer.estimate(name), at) for name in names if answer.predicts(name)},
        "limits": answer.limits[at].tolist(),
        "utilisation": [dict(zip(answer.utilisation, row, strict=True)) for row in zip(*busy, strict=True)],
        "provenance": [Provenance.LEARNED if answer.learned else Provenance.ROOFLINE] * len(at),
    }
    return [dict(zip(parts, row, strict=True)) for row in zip(*parts.values(), strict=True)]


def sides_of(
    asked: DisaggAsked, question: Asked, chosen: Deployments, at: npt.NDArray[np.int64]
) -> dict[str, Iterator[dict[str, Any]]]:
    """Of each pool the config, the number of workers and the platform, for the deployments `at` their places."""
    prefill, decode = (asked.pool(name) for name in POOLS)
    return {
        "prefill": _sides(prefill, question.prefill, chosen.prefill[at], chosen.prefill_workers[at]),
        "decode": _sides(decode, question.decode, chosen.decode[at], chosen.decode_workers[at]),
    }


def _sides(
    asked: WhatIf, question: Question, rows: npt.NDArray[np.int64], workers: npt.NDArray[np.int64]
) -> Iterator[dict[str, Any]]:
    grid = question.grid.take(rows) if asked.sets else Grid({})
    columns = [column.tolist() for column in grid.columns.values()]
    cells = zip(*columns, strict=True) if columns else (() for _ in rows)
    names, place = list(grid.columns), question.platform.name
    for row, count in zip(cells, workers.tolist(), strict=True):
        yield {"config": dict(zip(names, row, strict=True)), "workers": count, "platform": place}


def _explained(asked: DisaggAsked, pair: Pair, row: int) -> Mapping[str, Any]:
    """The deployment, the seconds of a request in each stage, and the kernels of a step of each pool."""
    from model.load import load_of
    from model.steps.explain import explain

    answer, chosen, steps = pair.answer, pair.answer.deployments, {}
    for name, question, place in zip(
        POOLS, (pair.asked.prefill, pair.asked.decode), (chosen.prefill[row], chosen.decode[row]), strict=True
    ):
        grid = question.grid.take(np.array([place]))
        points = question.resolve(grid, load_of(question.workload, 1))
        steps[name] = [asdict(share) for share in explain(points, 0, float(answer.active[row]))[name]]
    [shown] = rows_of(asked, pair, np.array([row]))
    return {
        **{name: shown[name] for name in (*POOLS, "replicas", "gpus", "limits", "utilisation")},
        "stages": {stage: float(seconds[row]) for stage, seconds in answer.stages.items()},
        "active": float(answer.active[row]),
        "steps": steps,
    }
