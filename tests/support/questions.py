"""A question to the command line that several tests ask."""

from __future__ import annotations

WHATIF = ["whatif", "--model", "meta-llama/Llama-3.1-8B", "--platform", "h100_sxm", "--engine", "vllm"]
POINT = ["--isl", "512", "--osl", "64", "--concurrency", "8"]
