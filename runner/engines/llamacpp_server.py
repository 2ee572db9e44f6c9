"""llama.cpp's own HTTP server from the PyPI package `xllamacpp`, behind the flags of the `llama-server` binary.

A script of its own that imports nothing of ours: it is started by its absolute path with `python -P`, so a folder that
holds a user's `model.py` or `runner.py` cannot change what it imports, and an interpreter that has nothing but
`xllamacpp` can run it.
"""

from __future__ import annotations

import argparse
import signal
import sys
from typing import Any

_CACHE_TYPES = ("f32", "f16", "bf16", "q8_0", "q4_0", "q4_1", "iq4_nl", "q5_0", "q5_1")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="llamacpp_server", description=__doc__, allow_abbrev=False)
    parser.add_argument("-m", "--model", required=True)
    parser.add_argument("--alias")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument("-np", "--parallel", type=int, default=4)
    parser.add_argument("-c", "--ctx-size", type=int, default=0)
    parser.add_argument("-b", "--batch-size", type=int, default=2048)
    parser.add_argument("-ub", "--ubatch-size", type=int, default=512)
    parser.add_argument("-t", "--threads", type=int)
    parser.add_argument("-tb", "--threads-batch", type=int)
    parser.add_argument("-ctk", "--cache-type-k", choices=_CACHE_TYPES, default="f16")
    parser.add_argument("-ctv", "--cache-type-v", choices=_CACHE_TYPES, default="f16")
    parser.add_argument("-cram", "--cache-ram", type=int, default=8192)
    parser.add_argument("--no-cont-batching", action="store_true")
    parser.add_argument("--no-ui", "--no-webui", action="store_true")
    parser.add_argument("-lv", "--log-verbosity", type=int, default=3)
    parser.add_argument("--metrics", action="store_true")
    parser.add_argument("--offline", action="store_true")
    return parser


def _params(library: Any, asked: argparse.Namespace) -> Any:
    params = library.CommonParams()
    params.model.path = asked.model
    if asked.alias:
        params.model_alias = {asked.alias}
    params.hostnames = [asked.host]
    params.port = asked.port
    params.n_parallel = asked.parallel
    params.n_ctx = asked.ctx_size
    params.n_batch = asked.batch_size
    params.n_ubatch = asked.ubatch_size
    params.cache_type_k = _cache_type(library, asked.cache_type_k)
    params.cache_type_v = _cache_type(library, asked.cache_type_v)
    params.cache_ram_mib = asked.cache_ram
    params.cont_batching = not asked.no_cont_batching
    params.ui = not asked.no_ui
    params.endpoint_metrics = asked.metrics
    params.verbosity = asked.log_verbosity
    params.offline = asked.offline
    if asked.threads:
        params.cpuparams.n_threads = asked.threads
    if asked.threads_batch or asked.threads:
        params.cpuparams_batch.n_threads = asked.threads_batch or asked.threads
    return params


def _cache_type(library: Any, name: str) -> Any:
    return getattr(library.ggml_type, f"GGML_TYPE_{name.upper()}")


def main() -> int:
    """Serve until a signal ends the process; 1 when the model cannot be loaded."""
    asked = _parser().parse_args()
    import xllamacpp

    try:
        server = xllamacpp.Server(_params(xllamacpp, asked))
    except RuntimeError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        return 1
    print(f"serving on {server.listening_address}", file=sys.stderr, flush=True)
    while True:
        signal.pause()


if __name__ == "__main__":
    sys.exit(main())
