"""`servecast import --save-map` and `--map` from the command line."""

from __future__ import annotations

import yaml

CSV = "model,gpu,engine,concurrency,ttft_ms,speed\nQwen3-8B,A10,vllm,4,50,100.5\nQwen3-8B,A10,vllm,8,70,150.25\n"


def test_a_map_is_saved_edited_and_given_back(cli):
    (cli.folder / "r.csv").write_text(CSV)
    saved = cli.folder / "map.yaml"
    tried = cli.process("import", "r.csv", "--dry-run", "--save-map", "map.yaml")
    assert tried.returncode == 0, tried.stderr
    assert "how the columns were understood stands in map.yaml" in tried.stderr
    columns = yaml.safe_load(saved.read_text())
    assert (columns["ttft_ms"], columns["speed"]) == ({"field": "ttft_s", "unit": "ms"}, "extra.speed")
    saved.write_text(yaml.safe_dump(columns | {"speed": "output_tps"}))
    assert cli.json("import", "r.csv", "--map", "map.yaml")["measurements"] == 4


def test_help_tells_of_it_and_an_existing_file_is_refused(cli):
    assert "--save-map" in cli.run("import", "--help").stdout
    (cli.folder / "r.csv").write_text(CSV)
    done = cli.process("import", "r.csv", "--save-map", "r.csv")
    assert (done.returncode, done.stdout) == (2, "")
    assert "--save-map r.csv: it exists already; expected the name of a new file" in done.stderr
    assert (cli.folder / "r.csv").read_text() == CSV
