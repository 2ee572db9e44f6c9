"""Random scenarios with the decisions of SGLang's own scheduler, for `scheduler_oracle.py` to compare ours with.

Run, in an environment with torch (for CPUs) and triton: `pip download --no-deps sglang==0.5.9`, unzip the wheel, then
`python tests/bench/sglang_oracle.py UNPACKED answers.jsonl 1000`, and `python tests/bench/scheduler_oracle.py
answers.jsonl` in ours. The scheduler, its batches, its radix cache and its allocators are SGLang's; the model is a list
of tokens. `memory` as a fourth argument makes scenarios that retract a lot, `stages` those of pipelines (`pp_size`), in
which a step is one turn of `event_loop_pp`: what it decides, and the results that it waits for.
"""

from __future__ import annotations

import json
import math
import random
import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.bench.sglang_import import Rows, Sampling, new_pages, paged, prepare

MOST_STEPS = 30_000


def scenario(number: int, kinds: Sequence[str]) -> dict[str, Any]:
    """One scenario by its number."""
    is_tight, is_staged = "memory" in kinds, "stages" in kinds
    rng = random.Random(number + 1_000_000 * is_tight + 2_000_000 * is_staged)
    page, most = rng.choice([1, 1, 1, 2, 4, 16]), rng.choice([8, 20, 40] if is_tight else [1, 3, 8, 20])
    context = 300 if is_tight else rng.choice([40, 80, 160, 300])
    pool = rng.choice([310, 400, 600]) if is_tight else context * rng.choice([1.1, 1.5, 2.5, 5])
    chunk = rng.choice([-1, 16, 32, 64, 128])
    settings = {
        "page_size": page, "num_pages": math.ceil(pool / page), "context_length": context,
        "max_running_requests": most, "max_prefill_tokens": rng.choice([30, 64, 200, 1000]),
        "chunked_prefill_size": math.ceil(max(chunk, most + 1) / page) * page if chunk > 0 else chunk,
        "schedule_policy": rng.choice(["fcfs", "lpm", "lof"]),
        "schedule_conservativeness": rng.choice([0.01, 0.05, 0.1, 0.3] if is_tight else [0.05, 0.3, 1.0, 1.3]),
        "disable_radix_cache": rng.random() < 0.25, "enable_mixed_chunk": rng.random() < 0.3,
    }  # fmt: skip
    if is_staged:
        stages = rng.choice([2, 3, 4])
        settings |= {"pp_size": stages, "enable_mixed_chunk": False, "max_running_requests": most * stages}
    longest = min(context, settings["num_pages"] * page) - 8
    prompts, answers = rng.choice([8, 30, longest]), (20, 120) if is_tight else (1, rng.choice([5, 20, 60]))
    groups, gap, prefix = rng.choice([0, 1, 3]), rng.choice([0, 0.3, 1, 4]), rng.choice([5, 20, 40])
    clock, requests = 0.0, []
    for row in range(rng.choice([3, 10, 30, 60])):
        clock += rng.expovariate(1 / gap) if gap else 0.0
        prompt, group = rng.randint(1, min(prompts, longest)), rng.randrange(-1, groups)
        shared = min(prompt, rng.choice([prefix, prefix // 2, rng.randint(0, prompt)])) if group >= 0 else 0
        requests.append(
            {
                "id": row, "arrival_step": int(clock), "prompt_len": prompt, "max_tokens": rng.randint(*answers),
                "prefix_group": group, "prefix_len": shared,
            }
        )  # fmt: skip
    name = "-".join([*(kinds or ["any"]), str(number)])
    return {"id": name, "engine": "sglang", "settings": settings, "requests": requests}


class Sglang:
    """SGLang's classes, with what their kernels would do done on lists."""

    def __init__(self, wheel: Path) -> None:
        prepare(wheel)
        import importlib

        import torch

        self.torch, self.args = torch, SimpleNamespace(
            attention_backend="torch_native", prefill_max_requests=None, disaggregation_mode="null",
            speculative_algorithm=None, enable_mamba_extra_buffer=lambda: False, enable_dynamic_chunking=False,
            schedule_low_priority_values_first=False, disaggregation_decode_enable_offload_kvcache=False,
            enable_dp_attention=False, enable_prefill_delayer=False,
        )  # fmt: skip
        utils = importlib.import_module("sglang.srt.utils")
        utils.get_numnew_pages, utils.get_bool_env_var = new_pages, lambda *_, **__: False
        utils.support_triton = lambda *_, **__: False
        importlib.import_module("sglang.srt.utils.common").ceil_align = lambda x, y: -(-x // y) * y
        importlib.import_module("sglang.srt.server_args").get_global_server_args = lambda: self.args
        names = {
            "scheduler": "managers.scheduler", "batches": "managers.schedule_batch", "pages": "mem_cache.allocator",
            "radix": "mem_cache.radix_cache", "chunk": "mem_cache.chunk_cache", "init": "mem_cache.cache_init_params",
        }  # fmt: skip
        self.of = SimpleNamespace(**{key: importlib.import_module(f"sglang.srt.{name}") for key, name in names.items()})
        self.of.batches.SamplingBatchInfo = Sampling
        self.paged = paged(self.of.pages, torch)

    def server(self, given: dict[str, Any]) -> Any:
        """A scheduler with these settings."""
        of, torch, size, pages = self.of, self.torch, given["page_size"], given["num_pages"]
        stages = given.get("pp_size", 1)
        vars(self.args).update(given, pp_max_micro_batch_size=given["max_running_requests"] // stages)
        if size == 1:
            allocator = of.pages.TokenToKVPoolAllocator(pages, torch.bfloat16, "cpu", None, False)
        else:
            allocator = self.paged(pages * size, size, torch.bfloat16, "cpu", None, False)
        rows = Rows(torch, given["max_running_requests"] + 1, given["context_length"] + size + 8)
        params = of.init.CacheInitParams(given["disable_radix_cache"], rows, allocator, size)
        cache = of.chunk.ChunkCache if given["disable_radix_cache"] else of.radix.RadixCache
        server = object.__new__(of.scheduler.Scheduler)
        vars(server).update(
            server_args=self.args, tree_cache=cache(params), token_to_kv_pool_allocator=allocator, page_size=size,
            req_to_token_pool=rows, waiting_queue=[], running_batch=of.batches.ScheduleBatch([], batch_is_full=False),
            running_mbs=[of.batches.ScheduleBatch([], batch_is_full=False) for _ in range(stages)],
            mbs=[None] * stages, last_mbs=[None] * stages, turn=0, cur_batch=None,
            forward_ct=0, forward_ct_decode=0, num_generated_tokens=0,
            dllm_config=None, enable_hierarchical_cache=False, enable_hicache_storage=False, enable_lora=False,
            enable_metrics=False,
            enable_priority_scheduling=False, schedule_low_priority_values_first=False, enable_overlap=False,
            priority_scheduling_preemption_threshold=10, max_prefill_tokens=given["max_prefill_tokens"], pp_size=stages,
            schedule_policy=given["schedule_policy"], spec_algorithm=SimpleNamespace(is_none=lambda: True),
            truncation_align_size=None, require_mlp_sync=False, is_generation=True, max_queued_requests=None,
            disaggregation_mode=of.scheduler.DisaggregationMode.NULL, current_scheduler_metrics_enabled=False,
            abort_on_priority_when_disabled=False, stream_output=_nothing, maybe_collect_routed_experts=_nothing,
            maybe_collect_customized_info=_nothing, _mamba_prefix_cache_update=_nothing,
            model_config=SimpleNamespace(is_encoder_decoder=False, is_matryoshka=False, vocab_size=1, hidden_size=1),
            grammar_manager=SimpleNamespace(has_waiting_grammars=lambda: False),
            maybe_prepare_mlp_sync_batch=lambda batch, need_sync=None: batch,
            max_req_len=min(given["context_length"], pages * size) - 1,
        )  # fmt: skip
        of.scheduler.Scheduler.init_chunked_prefill(server)
        of.scheduler.Scheduler.init_schedule_policy(server)
        return server

    def request(self, asked: dict[str, int]) -> Any:
        """A request that generates exactly its tokens."""
        limits = SimpleNamespace(custom_params=None, max_new_tokens=asked["max_tokens"], ignore_eos=True)
        known, prompt = _tokens(asked), asked["prompt_len"]
        made = self.of.batches.Req(str(asked["id"]), "", known[:prompt], limits, vocab_size=1 << 40)
        vars(made).update(
            id=asked["id"], script=[*known[prompt:], 0], grammar=None, multimodal_inputs=None, dllm_config=None,
            time_stats=SimpleNamespace(wait_queue_entry_time=0, forward_entry_time=1, prefill_finished_ts=1),
            _check_token_based_finish=_no, _check_vocab_boundary_finish=_no, _check_str_based_finish=_no,
        )  # fmt: skip
        return made

    def decide(self, given: dict[str, Any]) -> dict[str, Any]:
        """The scenario with SGLang's decisions, as `model.simulate.decisions` tells them."""
        server, steps, cached, done = self.server(given["settings"]), [], {}, 0
        to_come = {asked["id"]: asked["arrival_step"] for asked in given["requests"]}
        requests = {asked["id"]: self.request(asked) for asked in given["requests"]}
        while done < len(requests):
            for number in [number for number, at in to_come.items() if at <= len(steps)]:
                server.init_req_max_new_tokens(requests[number])
                server.waiting_queue.append(requests[number])
                del to_come[number]
            step = self.step(server, given["settings"])
            for number, hit in zip(step["admitted"][::2], step["admitted"][1::2], strict=True):
                cached.setdefault(str(number), hit)
            done += len(step["finished"])
            steps.append(step)
            if len(steps) > MOST_STEPS:
                raise RuntimeError("it never ends")
        return {**given, "steps": _folded(steps), "num_steps": len(steps), "cached_tokens": cached}

    def step(self, server: Any, given: dict[str, Any]) -> dict[str, Any]:
        """Decide on one step, and end that of the micro-batch whose turn is next: the same one where there is one."""
        turn, waited = server.turn, {request.id for request in server.waiting_queue}
        server.running_batch, server.last_batch = server.running_mbs[turn], server.last_mbs[turn]
        batch = server.get_next_batch_to_run()
        server.mbs[turn], server.running_mbs[turn] = batch, server.running_batch
        told = self.told(server, batch, waited, given)
        server.turn = turn = (turn + 1) % len(server.mbs)
        finished = self.end(server, server.mbs[turn])
        if turn == 0 and not any(server.mbs):
            server.new_token_ratio = server.init_new_token_ratio
        if server.mbs[turn] is not None:
            server.last_mbs[turn] = server.mbs[turn]
        return {**told, "finished": finished}

    @staticmethod
    def told(server: Any, batch: Any, waited: set[int], given: dict[str, Any]) -> dict[str, Any]:
        """What was decided, where so many waited."""
        waits, size = {request.id for request in server.waiting_queue}, given["page_size"]
        reqs = batch.reqs if batch else []
        is_decode = bool(batch) and batch.forward_mode.is_decode()
        decoding = {request.id for request in (reqs if is_decode else getattr(batch, "decoding_reqs", None) or [])}
        alive = {request.id for request in server.running_batch.reqs if not request.finished()}
        return {
            "scheduled": [each for r in reqs for each in (r.id, 1 if r.id in decoding else r.extend_input_len)],
            "preempted": [request.id for request in server.waiting_queue if request.id not in waited],
            "admitted": [each for r in reqs if r.id in waited - waits for each in (r.id, len(r.prefix_indices))],
            "running": len(alive | {request.id for request in reqs}),
            "waiting": len(waits),
            "free_blocks": server.token_to_kv_pool_allocator.available_size() // size,
            "cached_blocks": 0 if given["disable_radix_cache"] else server.tree_cache.evictable_size() // size,
        }  # fmt: skip

    def end(self, server: Any, batch: Any) -> list[int]:
        """Run a step, if there is one; answers who is done."""
        if not batch:
            return []
        reqs, is_decode = batch.reqs, batch.forward_mode.is_decode()
        before = {request.id for request in reqs if request.finished()}
        batch.output_ids = self.torch.tensor([r.script[min(len(r.output_ids), len(r.script) - 1)] for r in reqs])
        result = SimpleNamespace(copy_done=None, logits_output=None, next_token_ids=batch.output_ids,
                                 extend_input_len_per_req=None, extend_logprob_start_len_per_req=None,
                                 can_run_cuda_graph=False)  # fmt: skip
        finish = server.process_batch_result_decode if is_decode else server.process_batch_result_prefill
        finish(batch, result)
        return [r.id for r in reqs if r.finished() and r.id not in before]


def _nothing(*_: Any, **__: Any) -> None:
    pass


def _no(*_: Any) -> bool:
    return False


def _tokens(asked: dict[str, int]) -> list[int]:
    shared, group = asked["prefix_len"], asked["prefix_group"]
    count = asked["prompt_len"] + asked["max_tokens"]
    return [
        1_000_000 * (group + 1) + at if at < shared else 100_000_000 + 10_000 * asked["id"] + at for at in range(count)
    ]


def _folded(steps: list[dict[str, Any]]) -> list[dict[str, Any]]:
    folded: list[dict[str, Any]] = []
    counted = ("free_blocks", "cached_blocks")
    for step in steps:
        lean = {name: value for name, value in step.items() if value != [] or name == "scheduled"}
        same = folded and not {"preempted", "admitted", "finished"} & (set(lean) | set(folded[-1]))
        if same and all(lean[name] == folded[-1][name] for name in ("scheduled", "running", "waiting")):
            folded[-1]["repeat"] = folded[-1].get("repeat", 1) + 1
            for name in counted:
                folded[-1][name].append(lean[name])
        else:
            folded.append(lean | {name: [lean[name]] for name in counted})
    for step in folded:
        step.update({name: step[name][0] for name in counted if len(set(step[name])) == 1})
    return folded


def main(wheel: Path, out: Path, count: int, kinds: Sequence[str]) -> None:
    """Write the scenarios that SGLang survives, and say how many it does not."""
    sglang, ended = Sglang(wheel), 0
    with out.open("w", encoding="utf-8") as file:
        for number in range(count):
            try:
                answer = sglang.decide(scenario(number, kinds))
            except (RuntimeError, ValueError):
                ended += 1
                continue
            file.write(json.dumps(answer, separators=(",", ":")) + "\n")
    print(f"{count - ended} scenarios decided; in {ended} SGLang runs out of memory or never goes on")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4:])
