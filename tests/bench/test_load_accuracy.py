"""How true the load client's numbers are: a server that answers after 100 ms and then every 20 ms, at growing load.

Run with `pytest tests/bench/test_load_accuracy.py --benchmark-only -s`; prints what the client saw.
"""

import subprocess
import sys
from contextlib import closing

import pytest

from perfdb.metrics import Statistic
from perfdb.records import Workload
from runner.load import run_load
from runner.load.client import Endpoint

MOCK = """
import asyncio, json, sys
TTFT, TPOT, N = 0.100, 0.020, 24
async def answer(reader, writer):
    loop = asyncio.get_running_loop()
    await reader.readuntil(b"\\r\\n\\r\\n")
    start = loop.time()
    writer.write(b"HTTP/1.1 200 OK\\r\\nContent-Type: text/event-stream\\r\\nConnection: close\\r\\n\\r\\n")
    for i in range(N):
        await asyncio.sleep(start + TTFT + i * TPOT - loop.time())
        writer.write(b'data: {"choices":[{"text":" a"}]}\\n\\n')
    usage = {"prompt_tokens": 96, "completion_tokens": N}
    writer.write(b"data: " + json.dumps({"choices": [], "usage": usage}).encode() + b"\\n\\ndata: [DONE]\\n\\n")
    await writer.drain()
    writer.close()
async def main():
    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()
asyncio.run(main())
"""


@pytest.mark.parametrize("concurrency", [1, 8, 32])
def test_a_known_server_is_measured_truly(benchmark, concurrency):
    with subprocess.Popen([sys.executable, "-c", MOCK], stdout=subprocess.PIPE, text=True) as mock:
        with closing(mock.stdout) as said:
            endpoint = Endpoint(f"http://127.0.0.1:{said.readline().strip()}/v1/completions")
            load = Workload(isl=96, osl=24, concurrency=concurrency, requests=4 * concurrency)
            result = benchmark.pedantic(run_load, (endpoint, load), rounds=1)
        mock.kill()
    value = {(m.metric, m.statistic): m.value * 1e3 for m in result.measurements}
    shown = {name: value[f"{name}_s", Statistic.MEAN] for name in ("ttft", "tpot", "itl", "e2e")}
    print(f"\nconcurrency {concurrency}: " + ", ".join(f"{name} {ms:.2f} ms" for name, ms in shown.items()))
    assert shown["ttft"] == pytest.approx(100, rel=0.1)
    assert shown["tpot"] == pytest.approx(20, rel=0.02)
