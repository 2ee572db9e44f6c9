"""Two pools in closed form against a simulation of both, request by request and step by step.

Run: `python tests/bench/disagg_agreement.py [SEED] [SCENARIOS]`: prints |log(closed form / simulation)| of mean TTFT,
mean TPOT and throughput over random scenarios: median, 90th percentile and bias, by kind of load. Both rest on the same
step times, so this is about queueing, batching and matching pools only. A router sends each request to the engine with
the least to do.
"""

from __future__ import annotations

import heapq
import sys
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from model.checkpoint.architecture import resolve_model
from model.disagg.answer import Asked, disaggregated
from model.disagg.pools import Pool, link_bytes_s, moved_bytes
from model.disagg.units import Deployments
from model.question import Question
from model.simulate.costs import StepCosts, step_s
from model.steps.config import step_costs
from model.steps.overheads import overheads
from perfdb.facts.platforms import platform
from perfdb.lengths import Lengths
from perfdb.records import Arrival, Grid, Target, Workload

MODEL, ENGINE = "meta-llama/Llama-3.1-8B", "vllm"
ZERO = np.zeros(1, np.int64)


@dataclass
class Prefill:
    """One prefill engine: prompts wait with the tokens they still lack; a step takes `budget` tokens of them."""

    costs: StepCosts
    budget: int
    waiting: deque[list[int]] = field(default_factory=deque)
    step: list[tuple[int, int]] = field(default_factory=list)

    @property
    def to_do(self) -> int:
        return sum(left for _, _, left in self.waiting)

    def begin(self) -> float:
        """Schedule a step and answer its seconds."""
        room, self.step, squares, past = self.budget, [], 0.0, 0.0
        for place, (_, prompt, left) in enumerate(self.waiting):
            chunk = min(left, room)
            if chunk == 0:
                break
            self.step.append((place, chunk))
            squares, past, room = squares + chunk * chunk, past + prompt - left, room - chunk
        tokens = self.budget - room
        return step_s(self.costs, tokens, len(self.step), np.sqrt(squares), past, 0.0, 0.0)

    def end(self) -> list[int]:
        """Requests whose prompts are done."""
        for place, chunk in self.step:
            self.waiting[place][2] -= chunk
        self.step, done = [], []
        while self.waiting and self.waiting[0][2] == 0:
            done.append(self.waiting.popleft()[0])
        return done


@dataclass
class Decode:
    """One decode engine: at most `slots` sequences and `room` tokens in the cache; each step gives each a token. Steps
    are decided `ahead`, or not: then who came since the last one `began` waits for another."""

    costs: StepCosts
    slots: int
    room: float
    ahead: bool
    began: float = 0.0
    waiting: deque[tuple[int, int, int, float]] = field(default_factory=deque)
    left: dict[int, int] = field(default_factory=dict)
    held: dict[int, int] = field(default_factory=dict)
    needs: dict[int, float] = field(default_factory=dict)
    cached: int = 0

    @property
    def to_do(self) -> int:
        return len(self.waiting) + len(self.left)

    def admit(self, now: float) -> list[int]:
        entered, seen = [], self.began if self.ahead and self.left else now
        self.began = now
        while self.waiting and len(self.left) < self.slots and self.waiting[0][3] <= seen:
            request, prompt, steps, _ = self.waiting[0]
            # caches grow to half of the answer on average
            need = prompt + steps / 2.0
            if self.left and sum(self.needs[other] for other in self.left) + need > self.room:
                break
            self.waiting.popleft()
            self.left[request], self.held[request] = steps, prompt + steps
            self.cached += prompt
            self.needs[request] = need
            entered.append(request)
        return entered

    def begin(self) -> float:
        n = len(self.left)
        return step_s(self.costs, n, n, 0.0, 0.0, float(n), self.cached / n)

    def end(self) -> list[int]:
        done = []
        for request in list(self.left):
            self.left[request] -= 1
            self.cached += 1
            if self.left[request] == 0:
                done.append(request)
                self.cached -= self.held[request]
                del self.left[request]
        return done


ARRIVES, PREFILLED, MOVED, DECODED = range(4)


@dataclass
class Scenario:
    """One deployment under one load, with everything that both ways need."""

    workload: Workload
    pools: tuple[Pool, Pool]
    workers: tuple[int, int]
    costs: tuple[StepCosts, StepCosts]
    transfer_s: float
    think_s: float
    prompt: np.ndarray
    output: np.ndarray
    due: np.ndarray
    closed_form: Mapping[str, float]


class Run:
    """A scenario under way: events by time, and when each request came, showed its first token and ended."""

    def __init__(self, case: Scenario) -> None:
        self.case, n = case, len(case.prompt)
        self.prefill, self.decode = _engines(case)
        self.came, self.first, self.last = np.array(case.due), np.zeros(n), np.zeros(n)
        self.events: list[tuple[float, int, int]] = []
        for request in np.flatnonzero(np.isfinite(case.due)).tolist():
            self.plan(float(case.due[request]), ARRIVES, request)
        self.coming = len(self.events)

    def plan(self, at: float, kind: int, which: int) -> None:
        """An event to come."""
        heapq.heappush(self.events, (at, kind, which))

    def go(self) -> None:
        """Serve everyone."""
        ways: tuple[Callable[[float, int], None], ...] = (self.arrives, self.prefilled, self.moved, self.decoded)
        while self.events:
            now, kind, which = heapq.heappop(self.events)
            ways[kind](now, which)

    def arrives(self, now: float, request: int) -> None:
        """To the prefill engine with the fewest tokens to do."""
        place = min(range(len(self.prefill)), key=lambda i: self.prefill[i].to_do)
        tokens = int(self.case.prompt[request])
        self.prefill[place].waiting.append([request, tokens, tokens])
        if not self.prefill[place].step:
            self.plan(now + self.prefill[place].begin(), PREFILLED, place)

    def prefilled(self, now: float, place: int) -> None:
        """A step of a prefill engine ends, and the next begins."""
        for request in self.prefill[place].end():
            self.plan(now + self.case.transfer_s, MOVED, request)
        if self.prefill[place].waiting:
            self.plan(now + self.prefill[place].begin(), PREFILLED, place)

    def moved(self, now: float, request: int) -> None:
        """To the decode engine with the fewest requests."""
        place = min(range(len(self.decode)), key=lambda i: self.decode[i].to_do)
        engine = self.decode[place]
        engine.waiting.append((request, int(self.case.prompt[request]), int(self.case.output[request]) - 1, now))
        if not engine.left:
            self.next_step(now, place)

    def decoded(self, now: float, place: int) -> None:
        """A step of a decode engine ends; who is answered asks again, where the load is a closed loop."""
        for request in self.decode[place].end():
            self.last[request] = now
            if self.coming < len(self.came):
                self.came[self.coming] = now + self.case.think_s
                self.plan(float(self.came[self.coming]), ARRIVES, self.coming)
                self.coming += 1
        self.next_step(now, place)

    def next_step(self, now: float, place: int) -> None:
        """Who waits is let in, and the next step begins."""
        engine = self.decode[place]
        self.first[engine.admit(now)] = now
        if engine.left:
            self.plan(now + engine.begin(), DECODED, place)


def simulated(case: Scenario) -> Mapping[str, float]:
    """Mean TTFT and TPOT of all requests, and output tokens/s of the middle three fifths."""
    run = Run(case)
    run.go()
    ends, n, added = np.sort(run.last), len(run.last), overheads(ENGINE)
    low, high = n // 5, n - n // 5
    return {
        "ttft_s": float((run.first - run.came).mean() + 2 * added.request_s),
        "tpot_s": float(((run.last - run.first) / (case.output - 1)).mean() + added.token_s),
        "output_tps": float((high - low) / (ends[high] - ends[low]) * case.output.mean()),
    }


def _engines(case: Scenario) -> tuple[list[Prefill], list[Decode]]:
    one, other = case.pools
    budget = int(one.points.max_num_batched_tokens[0])
    slots, room = int(other.points.max_num_seqs[0]), float(other.memory.blocks[0] * other.points.block_size[0])
    prefill = [Prefill(case.costs[0], budget) for _ in range(case.workers[0])]
    ahead = bool(other.points.decided_ahead[0])
    return prefill, [Decode(case.costs[1], slots, room, ahead) for _ in range(case.workers[1])]


def scenario(random: np.random.Generator, is_open: bool) -> Scenario:
    """A deployment and a load drawn at random; a rate is 0.3 to 0.9 of what the unit serves at most."""
    isl, osl = int(random.integers(100, 6000)), int(random.integers(16, 400))
    text = f"D({isl},{osl})" if random.random() < 0.5 else f"N({isl},{isl // 3})/({osl},{osl // 3})"
    places = random.choice(["h100_sxm", "h200_sxm", "a100_sxm_80gb"], 2).tolist()
    sizes, workers = random.choice([1, 2, 4], 2).tolist(), random.choice([1, 2, 4], 2).tolist()
    budget, slots = int(random.choice([2048, 8192])), int(random.choice([32, 256]))
    concurrency = int(2 ** random.uniform(0, 9))
    requests = int(np.clip(10 * concurrency, 400, 2500))
    closed = Workload(isl, osl, Arrival.CLOSED, concurrency, requests=requests, lengths=text)
    sets = {"tensor_parallel_size": sizes, "max_num_batched_tokens": [budget, budget], "max_num_seqs": [256, slots]}
    workload = closed
    if is_open:
        answer = asked(places, sets, closed, workers)[0]
        most = 1.0 / np.max([use[0] / answer["request_tps"] for use in answer["utilisation"].values()])
        rate = float(random.uniform(0.3, 0.9) * most)
        workload = replace(closed, arrival=Arrival.POISSON, concurrency=None, request_rate=rate, requests=1500)
    found, pools, costs = asked(places, sets, workload, workers)
    prompt, output = np.array(Lengths.parse(text).sample(workload.requests, int(random.integers(1 << 30)))).T
    due = np.full(workload.requests, np.nan)
    if is_open:
        due = np.cumsum(random.exponential(1.0 / rate, workload.requests))
    else:
        due[:concurrency] = 0.0
    sent, taken = moved_bytes(*pools, ZERO, ZERO)
    link = link_bytes_s(*(pool.points.platform for pool in pools))
    added = overheads(ENGINE)
    think = 2 * added.request_s + (osl - 1) * added.token_s
    return Scenario(
        workload, pools, tuple(workers), costs, float(max(sent[0], taken[0]) / link), think, prompt,
        np.maximum(output, 2), due, found,
    )  # fmt: skip


def asked(places: list[str], sets: Mapping[str, list[int]], workload: Workload, workers: list[int]) -> Any:
    """The closed form's answer, both pools, and the cost tables that both ways take the steps from."""
    model = resolve_model(MODEL)
    questions = []
    for side, place in enumerate(places):
        grid = Grid.of([{name: values[side] for name, values in sets.items()}])
        target = Target(model.name, place, ENGINE, 1, None)
        questions.append(Question(target, model, platform(place), workload, grid))
    answer = disaggregated(Asked(*questions, Deployments(ZERO, ZERO, ZERO + workers[0], ZERO + workers[1])))
    pools = Pool.of(questions[0], replace(workload, osl=1)), Pool.of(questions[1], workload)
    costs = tuple(step_costs(pool.points, pool.points.tables) for pool in pools)
    names = [*answer.metrics, *(f"{name}_p{p}" for name in ("ttft_s", "tpot_s") for p in (50, 90, 99))]
    found = {name: float(answer.estimate(name).mean[0]) for name in names}
    return found | {"utilisation": answer.utilisation}, pools, costs


def main(seed: int = 0, scenarios: int = 40) -> None:
    """Every scenario both ways."""
    random = np.random.default_rng(seed)
    for kind in ("closed", "rate"):
        off: dict[str, list[float]] = {}
        for _ in range(scenarios):
            case = scenario(random, kind == "rate")
            for name, value in simulated(case).items():
                off.setdefault(name, []).append(float(np.log(case.closed_form[name] / value)))
        for name, values in off.items():
            size = np.abs(values)
            print(
                f"{kind:6} {name:10} n {len(values)}, median |log ratio| {np.median(size):.3f}, "
                f"p90 {np.quantile(size, 0.9):.3f}, median ratio {np.exp(np.median(values)):.3f}"
            )


if __name__ == "__main__":
    main(*(int(word) for word in sys.argv[1:3]))
