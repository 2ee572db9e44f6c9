"""Import a folder tree of public benchmark files: what became of each row, and 20 values against the files by hand.

    uv run python tests/bench/import_everything.py FOLDER [--db FILE]

FOLDER has one folder per collection, named as below; any of them may be missing, its spot checks then fail. They are
taken from these repositories (the folder, then what of it to put there):

    apex            github.com/microsoft/apex_plus: vllm/results/*.txt, sglang/results/*.txt
    argonne         github.com/argonne-lcf/LLM-Inference-Bench: Plots/All_results.csv
    datacrunch      github.com/datacrunch-research/h200-benchmarks: sglang/outputs/*.jsonl
    dstack          github.com/dstackai/benchmarks: every CSV under comparison, amd and nvidia
    inferencex      github.com/SemiAnalysisAI/InferenceX: experimental/token_position_decode_slo/*/results/*.json
    llmpilot        github.com/IBM/LLM-performance-prediction: performance_characterization_data_raw/*.csv, and
                    aggregated.csv, one row per raw file (TTFT is element [1], tokens over 120 s)
    llmservingsim   github.com/casys-kaist/LLMServingSim: profile/, and bench/examples/*/*/ as measured/
    samples         fixtures of ai-dynamo/aiperf, sgl-project/genai-bench and llm-d/llm-d-benchmark
    vidur           github.com/microsoft/vidur: data/profiling

Prints a row per folder, why files were skipped, and the spot checks; exits with 1 unless every row is accounted for and
every value is as in its file.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from perfdb.importers.folder import import_paths
from perfdb.importers.options import ImportReport
from perfdb.store.store import Store

_CLOSE = 1e-9


@dataclass(frozen=True, slots=True)
class Spot:
    """A value read from a file by hand: the end of its path, its record, and what must be stored, in our units."""

    file: str
    row: int
    metric: str
    statistic: str
    expected: float


SPOTS = (
    Spot("apex/llama_creation_025_validation_8TP.txt", 1, "ttft_s", "mean", 0.04590288084000349),
    Spot("apex/llama_creation_025_validation_2DP4TP_1.txt", 1, "e2e_s", "mean", 5808.9934425354 / 401),
    Spot("apex/mistral_tp_8_creation_05_validation.txt", 1, "output_tokens", "mean", 435315 / 725),
    Spot("argonne/All_results.csv", 1, "e2e_s", "value", 0.688306736946106),
    Spot("argonne/All_results.csv", 235, "total_tps", "value", 109.826672),
    Spot("datacrunch/deepseek_dp_mla_output.jsonl", 1, "ttft_s", "p50", 10.014104524045251),
    Spot("datacrunch/llama_405b_online_output.jsonl", 1, "itl_s", "p50", 0.03878233698196709),
    Spot("datacrunch/llama_405b_online_output.jsonl", 1, "input_tokens", "mean", 152612 / 300),
    Spot("dstack/output.csv", 1, "ttft_s", "mean", 51.66451674),
    Spot("dstack/qps_comparison.csv", 4, "tpot_s", "mean", 1.568677141),
    Spot("dstack/latency_output.csv", 3, "e2e_s", "mean", 84.22),
    Spot("dstack/throughput_comparsion.csv", 1, "e2e_s", "value", 236.1237305),
    Spot("dstack/tgi_vs_vllm/result_vllm_single_prompt.csv", 1, "request_tps", "value", 1 / 748.82),
    Spot("inferencex/glm-5/glm5_fp8_vllm_tp8_isl1024_osl128_conc16.json", 1, "tpot_s", "p99", 0.0717096967959967),
    Spot("llmpilot/results_llama-7b_gpu1_a10_u64.csv", 1, "success_rate", "value", 462 / 3390),
    Spot("llmpilot/results_llama-7b_gpu1_a10_u1.csv", 1, "ttft_s", "mean", 11.689 / 185),
    Spot("llmpilot/aggregated.csv", 2, "output_tps", "value", 210.14166666666668),
    Spot("llmservingsim/measured/RTX4090/Llama-3.1-8B/requests.jsonl", 1, "output_tokens", "mean", 195753 / 300),
    Spot("samples/aiperf_profile_export_1.json", 1, "ttft_s", "p99", 0.03434426888),
    Spot("samples/guidellm_report_v2.json", 1, "e2e_per_token_s", "mean", 0.0024421364068984985),
)


def main() -> int:
    """Import, print, answer the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--db", type=Path, help="keep the database here")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        store = Store(arguments.db or Path(scratch) / "everything.duckdb")
        folders = sorted(entry for entry in arguments.folder.iterdir() if entry.is_dir())
        reports = {folder.name: import_paths(store, [folder]) for folder in folders}
        is_whole = print_table(reports)
        print_skipped(reports)
        return 0 if print_spots(store) and is_whole else 1


def print_table(reports: dict[str, ImportReport]) -> bool:
    """A row per folder; whether every record is stored, a duplicate or set aside."""
    names = ("files", "rows_read", "stored", "duplicates", "quarantined", "measurements")
    print(f"{'folder':16}" + "".join(f"{name:>14}" for name in (*names, "skipped")))
    totals: Counter[str] = Counter()
    for folder, report in reports.items():
        counts = {name: int(getattr(report, name)) for name in names} | {"skipped": len(report.skipped)}
        totals.update(counts)
        print(f"{folder:16}" + "".join(f"{count:>14,}" for count in counts.values()))
    print(f"{'all':16}" + "".join(f"{totals[name]:>14,}" for name in (*names, "skipped")))
    for report in reports.values():
        for reason, count in report.reasons.items():
            print(f"  set aside, {count:,} rows: {reason}")
    return totals["rows_read"] == totals["stored"] + totals["duplicates"] + totals["quarantined"]


def print_skipped(reports: dict[str, ImportReport]) -> None:
    """Why files were skipped, and one of each kind."""
    print("\nskipped files")
    for folder, report in reports.items():
        kinds = Counter(reason.split("(")[0].strip() for _, reason in report.skipped)
        first = {reason.split("(")[0].strip(): Path(file).name for file, reason in reversed(report.skipped)}
        for reason, count in kinds.most_common():
            print(f"  {folder}: {count} such as {first[reason]}: {reason}")


def print_spots(store: Store) -> bool:
    """Each value beside the one in its file; whether all agree."""
    right = 0
    print("\nspot checks")
    for spot in SPOTS:
        found = store.sql(
            f"""SELECT value FROM measurements JOIN operating_points USING (point_id) JOIN sources USING (source_id)
                WHERE path LIKE '%/{spot.file}' AND source_row = {spot.row}
                AND metric = '{spot.metric}' AND statistic = '{spot.statistic}'"""
        )
        values = [float(row[0]) for row in found.rows]
        is_right = len(values) == 1 and abs(values[0] / spot.expected - 1) < _CLOSE
        right += is_right
        stored = f"{values[0]:.10g}" if len(values) == 1 else f"{len(values)} values"
        sign = "  " if is_right else "!!"
        print(f"{sign} {spot.file}, record {spot.row}: {spot.metric} {spot.statistic} {stored} ({spot.expected:.10g})")
    print(f"{right} of {len(SPOTS)}")
    return right == len(SPOTS)


if __name__ == "__main__":
    sys.exit(main())
