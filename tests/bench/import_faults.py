"""An import in trouble: two readers and a second importer beside a heavy one, and kill -9 at random moments.

Run: `python tests/bench/import_faults.py [crowd [ROWS] | kills [KILLS]]`; else both (1,000,000 rows, 50 kills).
Ends with exit code 1 where a process failed, or saw or left behind anything but whole files.
"""

from __future__ import annotations

import json
import os
import random
import runpy
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from perfdb.errors import ServecastError
from perfdb.importers.folder import import_paths
from perfdb.store import Store

PARTIAL = runpy.run_path(str(Path(__file__).with_name("fuzz_import.py")))["PARTIAL"].format(
    rows="SELECT source_id, source_row FROM operating_points"
)
HEADER = "model,gpu,engine,tp,max_num_seqs,isl,osl,concurrency,mean_ttft_ms,mean_tpot_ms,output_throughput\n"
SMALL_FILES, SMALL_ROWS, KILLED_ROWS, KILLS_EACH = 40, 50, 30_000, 5
CONTENT = """
SELECT (SELECT sum(hash(path, format, rows_read, stored, duplicates, quarantined, measurements, reasons)) FROM sources),
       (SELECT count(*) FROM operating_points), (SELECT count(*) FROM measurements),
       (SELECT sum(hash(s.path, p.source_row, p.content_key, p.occurrence, p.config_key, p.model, p.platform, p.engine,
                        p.devices, p.isl, p.osl, p.concurrency, p.outcome, p.origin, p.extra, m.metric, m.statistic,
                        m.value))
        FROM measurements m JOIN operating_points p USING (point_id) JOIN sources s USING (source_id)),
       (SELECT sum(hash(file, "row", "column", value, reason)) FROM quarantine)"""
"""The content of a database, whatever the order and the ids in which it was written."""


def write_csv(path: Path, rows: int, seed: int) -> None:
    """Plain measurements, every thousandth impossible; no two files or rows alike."""
    rng = random.Random(seed)
    with path.open("w", encoding="utf-8") as file:
        file.write(HEADER)
        for i in range(rows):
            c, tpot = 2 ** rng.randrange(7), rng.uniform(5, 50)
            speed = -1.0 if i % 1000 == 0 else c / tpot * 900
            settings = f"{2 ** (i % 4)},{64 * (1 + i % 8)},{128 * (1 + i % 30)},128,{c}"
            file.write(f"Llama-3.1-8B,H100 SXM,vllm,{settings},{rng.uniform(10, 900):.4f},{tpot:.4f},{speed:.3f}\n")


def start(*words: str) -> subprocess.Popen[str]:
    """A process of this script, or of the product's command line."""
    program = [str(Path(__file__))] if words[0] == "read" else ["-m", "servecast"]
    return subprocess.Popen(
        [sys.executable, *program, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )


def read(database: Path, stop: Path) -> None:
    """Look again and again until `stop` is there: what was seen as JSON, or exit code 1 where a file was in part."""
    store, counts, longest, looks = Store(database), set[int](), 0.0, 0
    while not stop.exists():
        begin = time.perf_counter()
        halves = store.sql(PARTIAL).rows
        points = store.sql("SELECT count(*) FROM operating_points").rows[0][0]
        longest, looks = max(longest, time.perf_counter() - begin), looks + 1
        if halves:
            raise SystemExit(f"in part: {halves[:3]}")
        counts.add(int(str(points)))
    print(json.dumps({"looks": looks, "states": len(counts), "most points": max(counts), "longest look s": longest}))


def crowd(rows: int) -> list[str]:
    """A heavy import, two readers and an importer of small files at once, on one database."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        database, stop = folder / "crowd.duckdb", folder / "stop"
        write_csv(folder / "big.csv", rows, 0)
        write_csv(folder / "first.csv", 10, 1000)
        small = small_files(folder / "small")
        import_paths(Store(database), [folder / "first.csv"])
        begin = time.perf_counter()
        heavy = start("import", str(folder / "big.csv"), "--db", str(database), "--json")
        readers = [start("read", str(database), str(stop)) for _ in range(2)]
        others = second_importer(heavy, small, database)
        took = time.perf_counter() - begin
        stop.touch()
        named = [("heavy import", heavy), *((f"second importer {i}", other) for i, other in enumerate(others))]
        named += [(f"reader {i}", reader) for i, reader in enumerate(readers)]
        bad = [what for who, process in named for what in complaints(who, process)]
        bad += damage(database)
        there = Store(database).sql("SELECT count(*), sum(rows_read) FROM sources").rows[0]
    print(
        f"crowd: {rows:,} rows beside {len(others)} imports of {SMALL_FILES} files and 2 readers: {took:.1f} s; {there}"
    )
    return bad


def second_importer(heavy: subprocess.Popen[str], small: Path, database: Path) -> list[subprocess.Popen[str]]:
    """Imports of the small files, one after the other while the heavy one runs; other settings make them others."""
    done: list[subprocess.Popen[str]] = []
    while not done or heavy.poll() is None:
        settings = ("--set", f"engine_version={len(done)}")
        done.append(start("import", str(small), "--db", str(database), "--json", *settings))
        done[-1].wait()
    return done


def complaints(who: str, process: subprocess.Popen[str]) -> list[str]:
    """Print what a process answered; what it complained of, where it failed."""
    code, said, complaint = ended(process)
    print(f"  {who}: {told(said) or complaint.strip()}")
    return [f"{who} ended with {code}: {complaint.strip()[-300:]}"] if code else []


def small_files(folder: Path) -> Path:
    """A folder with `SMALL_FILES` files."""
    folder.mkdir()
    for i in range(SMALL_FILES):
        write_csv(folder / f"small-{i:03d}.csv", SMALL_ROWS, i + 1)
    return folder


def ended(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Exit code, output and complaints of a process, once it has ended."""
    said, complaint = process.communicate()
    return process.returncode, said, complaint


def told(said: str) -> str:
    """The numbers of a JSON answer."""
    answer: dict[str, Any] = json.loads(said) if said.strip() else {}
    return ", ".join(f"{name} {value:,.4g}" for name, value in answer.items() if isinstance(value, int | float))


def kills(count: int) -> list[str]:
    """kill -9 at random moments of an import; after each few, the import is completed and compared."""
    bad: list[str] = []
    rng, journals, stored = random.Random(1), 0, 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = small_files(folder / "files")
        write_csv(files / "big.csv", KILLED_ROWS, 0)
        begin = time.perf_counter()
        if ended(start("import", str(files), "--db", str(folder / "whole.duckdb"), "--json"))[0]:
            raise SystemExit("the undisturbed import failed")
        took, expected = time.perf_counter() - begin, content(folder / "whole.duckdb")
        print(f"  undisturbed: {took:.1f} s, {SMALL_FILES + 1} files")
        for turn in range(0, count, KILLS_EACH):
            database = folder / f"killed-{turn}.duckdb"
            moments = [rng.uniform(0.0, took) for _ in range(min(KILLS_EACH, count - turn))]
            for moment in moments:
                journals += killed(files, database, moment)
                bad += [f"after {moment:.3f} s: {what}" for what in damage(database)]
                stored += int(str(Store(database).sql("SELECT count(*) FROM sources").rows[0][0]))
            bad += completed(files, database, expected)
            print(f"  {turn + len(moments)} kills: {len(bad)} findings", flush=True)
    print(f"kills: {count}, {journals} left a journal, {stored / count:.1f} of {SMALL_FILES + 1} files there after one")
    return bad


def completed(files: Path, database: Path, expected: Sequence[Any]) -> list[str]:
    """What is wrong after the same import ran to its end: other content than undisturbed, drafts or journals left."""
    code, _, complaint = ended(start("import", str(files), "--db", str(database), "--json"))
    bad = [f"{database.name}: not completed: {complaint.strip()}"] if code else []
    if not code and content(database) != expected:
        bad.append(f"{database.name}: other content than undisturbed")
    left = [path.name for path in database.parent.glob(f"*{database.name}*") if path != database]
    return [*bad, *(f"left behind: {path}" for path in left)]


def killed(files: Path, database: Path, after_s: float) -> bool:
    """Kill an import `after_s` seconds after its start; whether it left a journal."""
    process = start("import", str(files), "--db", str(database), "--json")
    try:
        process.wait(after_s)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
    process.communicate()
    return database.with_name(f"{database.name}.wal").exists()


def damage(database: Path) -> list[str]:
    """What is wrong with a database whose writer was killed."""
    try:
        return [f"in part: {row}" for row in Store(database).sql(PARTIAL).rows]
    except ServecastError as error:
        return [f"does not open: {error}"]


def content(database: Path) -> list[Any]:
    """What a database holds, in five numbers."""
    return Store(database).sql(CONTENT).rows[0]


def main(words: Sequence[str]) -> int:
    """Run what was asked for; 1 where anything was wrong."""
    if words[:1] == ["read"]:
        read(Path(words[1]), Path(words[2]))
        return 0
    bad: list[str] = []
    if not words or words[0] == "crowd":
        bad += crowd(int(words[1]) if len(words) > 1 else 1_000_000)
    if not words or words[0] == "kills":
        bad += kills(int(words[1]) if len(words) > 1 else 50)
    print("\n".join(bad) or "nothing lost, nothing in part, no process failed")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
