"""How near a simulation of the fitted workload is to one of the trace it was fitted to.

Run: `python tests/bench/workload_fit.py [TRACE ...]`: any file that `simulate --trace` reads (Mooncake's traces:
github.com/kvcache-ai/Mooncake; Azure's: github.com/Azure/AzurePublicDataset; BurstGPT's: github.com/HPMLL/BurstGPT).
Without files, three synthetic ones that look like them: bursty chat with a daily rhythm (lognormal lengths), whole
seconds as times, and conversations told as chunks. The sample is another one than the trace: each number comes with
what a second sample of the same workload differs from the first by.
"""

from __future__ import annotations

import json
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from model.simulate.fit import fit
from model.simulate.reuse import reuse_of, with_conversations
from model.simulate.trace_files import read_trace
from model.simulate.traffic import sampled
from servecast.simulation.simulating import server_of

SHOWN = ("ttft_s", "tpot_s", "e2e_s")


def synthetic(folder: Path) -> list[Path]:
    """Files of each kind."""
    rng = np.random.default_rng(5)
    return [_azure(folder / "azure_like.csv", rng), _burst(folder / "burst_like.csv", rng),
            _mooncake(folder / "mooncake_like.jsonl", rng)]  # fmt: skip


def _azure(path: Path, rng: np.random.Generator) -> Path:
    n = 20_000
    even = np.cumsum(rng.gamma(0.6, 1 / 0.6, n))
    times = np.interp(even, np.cumsum(np.concatenate([[0], 400 * (1 + 0.7 * np.sin(np.arange(60) / 5))])),
                      np.arange(61) * 60.0)  # fmt: skip
    prompt = np.clip(np.exp(rng.normal(7, 1, n)), 3, 14000).astype(int)
    output = np.clip(np.exp(rng.normal(4.8, 0.9, n) + 0.1 * np.log(prompt / 1000)), 1, 2000).astype(int)
    start = np.datetime64("2023-11-16T18:00:00")
    stamps = [str(start + np.timedelta64(int(t * 1e6), "us")).replace("T", " ") + "0" for t in times]
    rows = zip(stamps, prompt, output, strict=True)
    path.write_text("TIMESTAMP,ContextTokens,GeneratedTokens\n" + "".join(f"{t},{p},{o}\n" for t, p, o in rows))
    return path


def _burst(path: Path, rng: np.random.Generator) -> Path:
    n = 20_000
    exact = np.cumsum(rng.gamma(0.3, 0.15 / 0.3, n))
    times = np.floor(exact)
    prompt = np.where(rng.random(n) < 0.5, rng.integers(5, 60, n), rng.integers(300, 3000, n))
    output = np.maximum(rng.normal(250, 120, n), 1).astype(int)
    rows = zip(times, prompt, output, strict=True)
    lines = "".join(f"{t:.0f},ChatGPT,{p},{o},{p + o},API log\n" for t, p, o in rows)
    path.write_text("Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n" + lines)
    np.save(path.with_suffix(".npy"), exact)
    return path


def _mooncake(path: Path, rng: np.random.Generator) -> Path:
    lines, fresh = [], iter(range(1, 10**9))
    for opened in np.cumsum(rng.exponential(1.0, 2500)):
        ids, length, at = [0], 512 * int(rng.integers(1, 12)), opened
        for _ in range(int(rng.geometric(0.45))):
            ids += [next(fresh) for _ in range(-(-length // 512) - len(ids))]
            output = int(rng.integers(50, 600))
            lines.append({"timestamp": int(at * 1e3), "input_length": length, "output_length": output,
                          "hash_ids": list(ids)})  # fmt: skip
            ids, length, at = (
                ids[: length // 512],
                length + output + int(rng.integers(20, 3000)),
                at + rng.exponential(40),
            )
    path.write_text("\n".join(json.dumps(line) for line in sorted(lines, key=lambda line: line["timestamp"])))
    return path


def compare(path: Path) -> None:
    """Print what the simulated server does with the trace, and how far two samples of the fit are from that."""
    trace = read_trace(path)
    traffic = fit(trace)
    exact = path.with_suffix(".npy")
    if exact.exists():  # the file has whole seconds, in which all requests of a second come at once
        trace = replace(trace, arrival_s=np.load(exact))
    server = server_of("meta-llama/Llama-3.1-8B", "h100_sxm", "vllm", {}, trace)
    samples = [sampled(traffic, len(trace), seed) for seed in (1, 2)]
    print(f"\n{path.name}: {len(trace)} requests; fitted: {traffic}")
    shares = [reuse_of(with_conversations(each)).tokens.sum() / each.prompt.sum() for each in (trace, *samples)]
    print(f"tokens in prefixes had before: {shares[0]:.3f}, samples {shares[1]:.3f} {shares[2]:.3f}")
    wanted, *found = [server.serve(each) for each in (trace, *samples)]
    for name in SHOWN:
        cells = [f"{key} {value:.4g} ({', '.join(f'{each[name][key] / value - 1:+.0%}' for each in found)})"
                 for key, value in wanted[name].items()]  # fmt: skip
        print(f"{name}: {'; '.join(cells)}")
    print("output_tps", *(round(each["output_tps"]) for each in (wanted, *found)))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        for each in [Path(given) for given in sys.argv[1:]] or synthetic(Path(name)):
            compare(each)
