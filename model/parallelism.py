"""How engines spell who shares what: tensor, data and expert parallelism in one notation.

An engine's dp ranks each have a scheduler and requests of their own. On a dense model they are replicas. On a mixture
of experts they may share the experts of a layer (attention data parallelism), and then take their steps together.
"""

from __future__ import annotations

import numpy as np

from model.checkpoint.architecture import Architecture
from model.prediction import Bools, Floats
from model.tables.said import say

Numbers = dict[str, Floats]
"""Role of a parameter -> its value in each of n configs."""


def share_experts(numbers: Numbers, engine: str, model: Architecture) -> None:
    """Put the parallelism of n configs in our words, in place: `tp` devices share a rank's layers, `dp` counts all
    ranks, `attention_dp` those that share experts, `ep` the devices over which whole experts are spread, and `group`
    the devices that share a layer's experts.

    vLLM's ranks share the experts of every mixture; `enable_expert_parallel` spreads whole ones over all their devices.
    SGLang's and TensorRT-LLM's do so when told, and divide their tp_size devices among the ranks then. What cannot be
    divided so is left to `model.feasibility`.
    """
    flag, spread = numbers.pop("dp_attention") > 0, numbers.pop("expert_parallel") > 0
    ranks = numbers["attention_dp"]
    numbers["dp"] = numbers["dp"] * ranks
    if engine == "vllm":
        ranks = np.where(ranks > 1, ranks, numbers["dp"])
    group = numbers["tp"] * np.where(flag, 1.0, ranks)
    if flag.any():
        ranks = _divide_devices(numbers, engine, flag)
    ep = np.where(spread, group, numbers["ep"])
    if not model.moe_layers:
        if (ep > 1).any() or spread.any():
            say([f"{model.name} has no experts to spread: expert parallelism counts for nothing"])
        group, ranks, ep = group / np.maximum(ranks, 1.0), np.ones_like(ranks), np.ones_like(ep)
    numbers |= {"group": group, "attention_dp": ranks, "ep": ep}


def _divide_devices(numbers: Numbers, engine: str, flag: Bools) -> Floats:
    """Ranks that divide a group's tp devices; SGLang's divide its limits of a step as well."""
    dp, tp = numbers["dp"], numbers["tp"]
    ranks = np.where(flag, dp if engine == "sglang" else tp, numbers["attention_dp"])
    numbers["tp"] = np.where(flag, np.maximum(tp // ranks, 1.0), tp)
    numbers["dp"] = np.where(flag, np.maximum(dp, ranks), dp)
    if engine == "sglang":
        for name in ("max_num_seqs", "max_num_batched_tokens"):
            numbers[name] = np.where(flag, np.maximum(numbers[name] // ranks, 1.0), numbers[name])
    return np.asarray(ranks)
