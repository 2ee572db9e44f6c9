"""The demo: the main job of the product, small and real, on any machine with a CPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from perfdb.errors import FileError
from perfdb.store import Store
from servecast.output import note
from servecast.report.document import document
from servecast.report.page import write_page
from servecast.tuning.budget import Budget
from servecast.tuning.console import watch
from servecast.tuning.executors import executor_for
from servecast.tuning.open_task import open_tuning
from servecast.tuning.tune import tune

DEMO_BUDGET = 12
MAX_QUALITY_LOSS = 0.05


def run_demo(out: Path, budget: str | None, wait_s: float) -> dict[str, Any]:
    """Make the model and the task in `out` (kept where they are there already), tune, write the page.

    Raises:
        FileError: the folder cannot be made or written.
    """
    asked = None if budget is None else Budget.parse(budget)
    try:
        out.mkdir(parents=True, exist_ok=True)
        task = out / "task.yaml"
        if not task.exists():
            note("making a small model with random weights: F16, Q8_0, Q4_0")
            text = _task_text(out)
            unfinished = task.with_suffix(".unfinished")
            unfinished.write_text(text, encoding="utf-8")
            unfinished.replace(task)
    except OSError as error:
        raise FileError(f"{out}: cannot be used ({error.strerror}); expected a folder that can be written") from None
    tuning = open_tuning(task, Store(out / "servecast.duckdb", wait_s=wait_s, on_wait=note))
    cap = asked or tuning.task.budget_cap()
    answer = document(tuning, tune(tuning, executor_for(tuning), cap, watch(tuning, cap)))
    write_page(answer, out / "report.html")
    return answer


def _task_text(out: Path) -> str:
    from perfdb.facts.local import usable_cores
    from runner.tiny_model import make_tiny_model

    made = make_tiny_model(out)
    files = {name: path.name for name, path in made.files.items()}
    cores = max(1, int(usable_cores()))
    task = {
        "name": "demo",
        "model": files["F16"],
        "model_files": files,
        "quality_loss": {name: round(loss, 5) for name, loss in made.quality_loss.items()},
        "max_quality_loss": MAX_QUALITY_LOSS,
        "engine": "llamacpp",
        "platform": "local",
        "load": {"lengths": "D(96,24)", "concurrency": 8, "requests": 40, "warmup_requests": 2},
        "space": {
            "n_parallel": [1, 2, 4, 8],
            "n_batch": [64, 128, 2048],
            "n_ubatch": [32, 128, 512],
            "threads": sorted({1, cores}),
            "kv_type": ["f16", "q8_0"],
            "cont_batching": [True, False],
            "quantization": list(files),
        },
        "constraints": ["n_ubatch <= n_batch"],
        "objectives": ["output_tps:max", "ttft_s:min", "tpot_s:min"],
        "baseline": {"threads": cores, "quantization": "F16"},
        "budget": DEMO_BUDGET,
        "stop_early": False,
    }
    return _HEADER + yaml.safe_dump(task, sort_keys=False, default_flow_style=None, width=110)


_HEADER = """\
# A servecast task. Change what you like: `servecast tune` starts a new run for a changed task and keeps the old one.
# quality_loss is what each quantisation adds to the weights (relative RMS error, measured when the model was made);
# raise max_quality_loss to let the coarser files in. stop_early: end before the budget does if nothing is worth it.
"""
