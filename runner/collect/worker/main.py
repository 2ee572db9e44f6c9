"""Times kernels of one library for whoever started it: a JSON object per line comes in, one goes out.

Run by path as `python main.py LIBRARY DEVICE THREADS` in an interpreter of the user's choosing (3.10 or newer), so it
imports none of our rooms. First it says of itself what `open_library` of on_LIBRARY.py tells, or {"error": sentence}.
Then each line is a case (op, dtype and its arguments) and is answered by its times. It ends when its input does.

Operands are copied until all copies are twice as large as the last cache, and used in turn: in a model, too, weights
and cached keys come from memory.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import math
import os
import platform
import runpy
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

LEAST_S = 0.03
"""Seconds of one repeat, and more: executions are counted together until they take as long."""
REPEATS = 5
STRAYING = 0.1
"""Relative spread from which as many repeats again are taken."""
OUTLIER = 1.5
"""A repeat that takes so many medians is noted as an outlier."""
_MOST_FASTER = 10
_ANY_CACHE = 2**25
_UNITS = {"K": 2**10, "M": 2**20}

Call = Callable[[], object]
Run = Callable[[int], float]
"""Executes a kernel at least so many times; answers the seconds of one."""


def main() -> None:
    """Answer cases until the input ends."""
    answers = _private_stdout()
    library, device, threads = sys.argv[1], sys.argv[2], int(sys.argv[3])
    opened = runpy.run_path(str(Path(__file__).with_name(f"on_{library}.py")))
    try:
        about, prepare = opened["open_library"](device, threads, 2 * _last_cache(), by_host_clock)
    except (ImportError, OSError, RuntimeError) as error:
        _say(answers, {"error": str(error)})
        return
    _say(answers, {**about, "python": platform.python_version(), "threads": threads})
    for line in sys.stdin:
        _say(answers, _answer(prepare, json.loads(line)))


def _private_stdout() -> TextIO:
    """Answers on the stdout we were given; what a library prints there goes to stderr instead."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return answers


def _say(answers: TextIO, document: Mapping[str, Any]) -> None:
    answers.write(json.dumps(document) + "\n")
    answers.flush()


def _last_cache() -> int:
    """Bytes of the CPU's largest cache."""
    sizes = [_ANY_CACHE]
    for file in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size"):
        text = file.read_text().strip()
        sizes.append(int(text.rstrip("KM")) * _UNITS.get(text[-1:], 1))
    return max(sizes)


def by_host_clock(calls: Sequence[Call]) -> Run:
    """The calls in turn, each over when it returns."""
    # the next execution does not wait for the first copy again
    turns = itertools.cycle(calls)

    def run(times: int) -> float:
        start = time.perf_counter()
        for call in itertools.islice(turns, times):
            call()
        return (time.perf_counter() - start) / times

    return run


def _answer(prepare: Callable[[Mapping[str, Any]], tuple[str, Run]], case: Mapping[str, Any]) -> dict[str, Any]:
    """What a case takes; what a library refuses (a shape, too little memory) is an answer, too."""
    try:
        kernel, run = prepare(case)
        return {"kernel": kernel, **measure(run)}
    except (ValueError, RuntimeError, MemoryError) as error:
        return {"error": " ".join(str(error).split())[:300] or type(error).__name__}


def measure(run: Run) -> dict[str, Any]:
    """The median of some repeats, their relative spread (standard deviation over mean), and each of them in seconds.

    `waited` is the share of the time in which threads of ours had to wait for a core, 0 where the system does not say.
    """
    times = _enough(run)
    start, before = time.perf_counter(), _waited_s()
    samples = [run(times) for _ in range(REPEATS)]
    if _spread(samples) > STRAYING:
        samples += [run(times) for _ in range(REPEATS)]
    return {
        "latency_s": statistics.median(samples),
        "spread": _spread(samples),
        "samples": samples,
        "times": times,
        "outliers": sum(sample > OUTLIER * statistics.median(samples) for sample in samples),
        "waited": (_waited_s() - before) / (time.perf_counter() - start),
    }


def _waited_s() -> float:
    """Seconds in which threads of this process were ready to run, and did not."""
    waited = 0.0
    for file in Path("/proc/self/task").glob("*/schedstat"):
        with contextlib.suppress(OSError):  # a thread that has ended
            waited += float(file.read_text().split()[1]) * 1e-9
    return waited


def _enough(run: Run) -> int:
    """Executions that take `LEAST_S`; those tried on the way warm up what there is to warm up."""
    run(1)
    times = 1
    while (each := run(times)) * times < LEAST_S:
        wanted = math.ceil(1.1 * LEAST_S / each) if each > 0 else _MOST_FASTER * times
        times = min(max(wanted, times + 1), _MOST_FASTER * times)
    return times


def _spread(samples: Sequence[float]) -> float:
    return statistics.stdev(samples) / statistics.fmean(samples)


if __name__ == "__main__":
    main()
