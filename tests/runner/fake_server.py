"""A pretended engine at the process boundary: standard library only, started as a process of its own.

`python fake_server.py PORT MODE`: an OpenAI completions server that behaves as MODE says.
"""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

PORT, MODE = int(sys.argv[1]), sys.argv[2]
count = Counter()
prompts = set()
settings = {}
DYING_WORDS = {
    "dies_early": ("weights are missing", 3),
    "oom_at_start": ("RuntimeError: CUDA out of memory. Tried to allocate 20 GiB", 1),
    "refuses": ("error: unrecognized arguments: --nonsense", 2),
}


async def answer(reader, writer):
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    method, path, _ = head.split(" ", 2)
    size = next(
        (int(line.split(":")[1]) for line in head.lower().split("\r\n") if line.startswith("content-length")), 0
    )
    body = json.loads(await reader.readexactly(size)) if size else {}
    if path == "/health":
        if MODE == "hangs_on_health":
            await asyncio.Event().wait()
        reply(writer, 503 if MODE == "never_ready" else 200, {"status": MODE})
    elif path == "/set":
        settings.update(body)
        reply(writer, 400 if "refuse" in body.values() else 200, settings)
    elif path == "/state":
        reply(writer, 200, {"pid": os.getpid(), "settings": settings, **count})
    elif method == "POST":
        await complete(writer, body)
    with contextlib.suppress(OSError):
        await writer.drain()
        writer.close()


def reply(writer, status, document):
    data = json.dumps(document).encode()
    writer.write(f"HTTP/1.1 {status} Said\r\nContent-Length: {len(data)}\r\nConnection: close\r\n\r\n".encode() + data)


async def complete(writer, body):
    count["seen"] += 1
    count["repeated"] += body["prompt"] in prompts
    prompts.add(body["prompt"])
    count["in_flight"] += 1
    count["most_in_flight"] = max(count["most_in_flight"], count["in_flight"])
    # The first four requests are probes and warm-up.
    late = count["seen"] > 8
    if late and MODE == "crashes":
        print("Segmentation fault in kernel", flush=True)
        os.kill(os.getpid(), signal.SIGSEGV)
    if late and MODE == "oom_while_running":
        print("torch.OutOfMemoryError: CUDA out of memory", flush=True)
        os._exit(1)
    if late and MODE == "hangs":
        await asyncio.Event().wait()
    if (late and MODE == "half_fails" and count["seen"] % 2) or (MODE == "fails_with_oom"):
        reply(writer, 500, {"error": "CUDA out of memory" if MODE == "fails_with_oom" else "worker is confused"})
    elif MODE == "refuses_requests":
        reply(writer, 400, {"error": "the request exceeds the available context size"})
    else:
        await stream(writer, body, breaks_off=late and MODE == "breaks_off")
    count["in_flight"] -= 1


async def stream(writer, body, breaks_off):
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n")
    for i in range(body["max_tokens"]):
        send(writer, {"choices": [{"text": f" word{i}"}]})
        await asyncio.sleep(0)
        if breaks_off:
            return
    # Two tokens per word and one for the beginning of the text.
    usage = {"prompt_tokens": 1 + 2 * len(body["prompt"].split()), "completion_tokens": body["max_tokens"]}
    send(
        writer,
        {"choices": [{"text": "", "finish_reason": "length"}], **({} if MODE == "no_usage" else {"usage": usage})},
    )
    if MODE == "error_in_stream":
        send(writer, {"error": {"message": "slot lost"}})
    writer.write(b"data: [DONE]\n\n")


def send(writer, event):
    writer.write(b"data: " + json.dumps(event).encode() + b"\n\n")


def before_serving():
    print(f"fake engine {MODE} cwd={Path.cwd()} env={os.environ.get('FAKE_ENV')}", flush=True)
    if MODE in DYING_WORDS:
        words, code = DYING_WORDS[MODE]
        print(words, flush=True)
        sys.exit(code)
    if MODE == "killed_at_start":
        os.kill(os.getpid(), signal.SIGKILL)
    if MODE == "refuses":
        print("error: unrecognized arguments: --nonsense", flush=True)
        sys.exit(2)
    if MODE == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if MODE == "port_taken" and not Path("second-start").exists():
        Path("second-start").touch()
        print("bind: Address already in use", flush=True)
        sys.exit(1)
    if MODE == "family":
        for session in (False, True):
            child = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", "import signal; signal.pause()"], start_new_session=session
            )
            print(f"child {child.pid}", flush=True)


async def main():
    before_serving()
    server = await asyncio.start_server(answer, "127.0.0.1", PORT)
    async with server:
        await server.serve_forever()


asyncio.run(main())
