"""A question to the command line, and a workload, that several tests ask."""

from __future__ import annotations

WHATIF = ["whatif", "--model", "meta-llama/Llama-3.1-8B", "--platform", "h100_sxm", "--engine", "vllm"]
POINT = ["--isl", "512", "--osl", "64", "--concurrency", "8"]
CHAT = {
    "lengths": "U(20,200)/(10,60)",
    "request_rate": 3,
    "burstiness": 0.5,
    "prefixes": {"share": 0.5, "tokens": 64},
    "conversations": {"turns": [1, 4], "think_s": 5},
}
