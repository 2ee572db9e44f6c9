"""How engines spell who shares what: tensor, data and expert parallelism in one notation.

An engine's dp ranks each have a scheduler and requests of their own. On a dense model they are replicas. On a mixture
of experts they may share the experts of a layer (attention data parallelism), and then take their steps together.
"""

from __future__ import annotations

import numpy as np

from model.architecture import Architecture
from model.prediction import Floats
from perfdb.errors import InputError

Numbers = dict[str, Floats]
"""Role of a parameter -> its value in each of n configs."""


def share_experts(numbers: Numbers, engine: str, model: Architecture) -> None:
    """Put the parallelism of n configs in our words, in place: `tp` devices share a rank's layers, `dp` counts all
    ranks, `attention_dp` those that share experts, `ep` the devices over which whole experts are spread.

    vLLM's ranks share the experts of every mixture; `enable_expert_parallel` spreads whole ones over all their devices.
    SGLang's and TensorRT-LLM's do so when told, and divide their tp_size devices among the ranks then.

    Raises:
        InputError: devices or experts cannot be divided so.
    """
    flag, spread = numbers.pop("dp_attention") > 0, numbers.pop("expert_parallel") > 0
    ranks = numbers["attention_dp"]
    numbers["dp"] = numbers["dp"] * ranks
    if engine == "vllm":
        ranks = np.where(ranks > 1, ranks, numbers["dp"])
    elif flag.any():
        ranks = _divide_devices(numbers, engine, flag)
    numbers["attention_dp"] = ranks if model.moe_layers else np.ones_like(ranks)
    group = numbers["tp"] * numbers["attention_dp"]
    ep = np.where(spread, group, numbers["ep"]) if model.moe_layers else np.ones_like(group)
    _refuse(ep > 1, (group % ep != 0) | (ep > model.experts), "ep", ep, "a divisor of the devices that share a layer")
    numbers["ep"] = ep


def _divide_devices(numbers: Numbers, engine: str, flag: np.ndarray) -> Floats:
    """Ranks that divide a group's tp devices; SGLang's divide its limits of a step as well."""
    dp, tp = numbers["dp"], numbers["tp"]
    ranks = np.where(flag, dp if engine == "sglang" else tp, numbers["attention_dp"])
    _refuse(flag, tp % ranks != 0, "dp", ranks, "a divisor of tp under data parallel attention")
    numbers["tp"] = np.where(flag, tp / ranks, tp)
    numbers["dp"] = np.where(flag, np.maximum(dp, ranks), dp)
    if engine == "sglang":
        for name in ("max_num_seqs", "max_num_batched_tokens"):
            numbers[name] = np.where(flag, np.maximum(numbers[name] // ranks, 1.0), numbers[name])
    return np.asarray(ranks)


def _refuse(asked: np.ndarray, wrong: np.ndarray, role: str, values: Floats, right: str) -> None:
    refused = values[asked & wrong]
    if len(refused):
        raise InputError.at(f"parameter for {role}", f"the value {refused[0]:g}", right)
