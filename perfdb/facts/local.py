"""This machine's CPU as a platform: read from the system, no benchmark run, the same answer at each call."""

from __future__ import annotations

import os
import re
from functools import lru_cache
from pathlib import Path

from perfdb.facts.platforms import GIGA, LOCAL, PlatformFacts

_CORE_BYTES_S = 10 * GIGA
_SOCKET_BYTES_S = 200 * GIGA
_DEFAULT_HZ = 2.5 * GIGA


@lru_cache(maxsize=1)
def local_platform() -> PlatformFacts:
    """Describe the CPU that this process may use.

    FLOP/s are usable cores × clock × FLOPs per cycle of the widest vector units (two FMA pipes; AMX and dot-product
    instructions where the CPU has them). Bandwidth cannot be read without a measurement: it is taken as 10 GB/s per
    core up to 200 GB/s per socket, a middling server; the learned residual corrects it. Memory is the smaller of the
    machine's and the control group's.
    """
    import psutil

    info = _cpuinfo()
    flags = set(info.get("flags", info.get("features", "")).lower().split())
    cores = usable_cores()
    hertz = clock_hz(info)
    model = info.get("model name", "unknown CPU")
    sockets = int(info.get("sockets", "1"))
    memory = min(float(psutil.virtual_memory().total), _cgroup_number("memory.max") or float("inf"))
    per_cycle = flops_per_cycle(flags)
    return PlatformFacts(
        name=LOCAL,
        vendor=info.get("vendor_id", "unknown"),
        kind="cpu",
        memory_bytes=memory,
        bandwidth_bytes_s=min(cores * _CORE_BYTES_S, sockets * _SOCKET_BYTES_S),
        flops={dtype: cores * hertz * value for dtype, value in per_cycle.items()},
        link_bytes_s=None,
        source=f"this machine: {model}, {cores:g} usable cores at {hertz / GIGA:.1f} GHz",
    )


def usable_cores() -> float:
    """Physical cores' worth of CPU that this process may use: affinity and control group limits count."""
    import psutil

    logical = psutil.cpu_count(logical=True) or 1
    physical = psutil.cpu_count(logical=False) or logical
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else logical
    quota = _cgroup_quota()
    share = min(allowed, quota) if quota else allowed
    return float(max(share * physical / logical, 1.0))


def flops_per_cycle(flags: set[str]) -> dict[str, float]:
    """FLOPs per core and cycle by dtype, two FMA pipes. Without native units, half precision runs at the FP32 rate."""
    if "avx512f" in flags:
        fp32 = 64.0
    elif "avx2" in flags:
        fp32 = 32.0
    else:
        fp32 = 16.0  # 128-bit NEON or SSE, two pipes
    bf16 = 2048.0 if "amx_bf16" in flags else fp32 * (2 if "avx512_bf16" in flags or "bf16" in flags else 1)
    fp16 = fp32 * (2 if "avx512_fp16" in flags or "asimdhp" in flags else 1)
    has_dot = bool(flags & {"avx512_vnni", "avx_vnni", "asimddp"})
    int8 = 4096.0 if "amx_int8" in flags else fp32 * (4 if has_dot else 2)
    return {"fp32": fp32, "fp16": fp16, "bf16": bf16, "int8": int8}


def _cpuinfo() -> dict[str, str]:
    """First processor's entries of /proc/cpuinfo, and "sockets"; empty where there is no such file."""
    path = Path("/proc/cpuinfo")
    if not path.exists():
        return {}
    text = path.read_text(errors="replace")
    info: dict[str, str] = {}
    for line in text.split("\n\n", 1)[0].splitlines():
        key, _, value = line.partition(":")
        info[key.strip()] = value.strip()
    if "Features" in info:
        info["features"] = info["Features"]
    info["sockets"] = str(len(set(re.findall(r"^physical id\s*:\s*(\d+)", text, re.MULTILINE))) or 1)
    return info


def clock_hz(info: dict[str, str]) -> float:
    """Nominal clock in Hz: from the model's name, else the highest known, else 2.5 GHz. Never the current one."""
    import psutil

    named = re.search(r"@\s*([\d.]+)\s*GHz", info.get("model name", ""))
    if named:
        return float(named.group(1)) * GIGA
    try:
        frequency = psutil.cpu_freq()
    except (OSError, NotImplementedError):
        frequency = None
    if frequency is not None and frequency.max:
        return float(frequency.max) * 1e6
    return _DEFAULT_HZ


def _cgroup_number(name: str) -> float | None:
    path = Path("/sys/fs/cgroup") / name
    try:
        return float(path.read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return None


def _cgroup_quota() -> float | None:
    """CPUs that the control group allows, None without a limit."""
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return float(quota) / float(period)
    except (OSError, ValueError):
        return None
