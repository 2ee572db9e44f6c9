"""What each accelerator can do at best: memory, bandwidth, dense FLOP/s, link and price, each with its source.

The numbers stand in `platforms.csv`: vendors' peaks without structured sparsity, one direction of a link. Vendors write
"GB" of device memory and mean GiB. A CPU's rates are its cores times their base clock times the FLOPs of a cycle. Here
everything is in bytes, bytes/s and FLOP/s. The user's own platforms (`perfdb.facts.own`) stand beside them.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from perfdb.errors import UnknownNameError

GIB = 2**30
TERA = 1e12
GIGA = 1e9
DTYPES = ("fp32", "tf32", "fp16", "bf16", "fp8", "int8", "fp4")
LOCAL = "local"
"""The name of this machine's CPU, described when it is asked for."""
BUILT_IN = "built in"


@dataclass(frozen=True)
class PlatformFacts:
    """One device of one kind.

    `flops` maps a name of `DTYPES` to dense FLOP/s; a dtype that the device has no units for is absent. `link_bytes_s`
    is what one device sends to its peers in one direction, None where devices are not joined or no source says it.
    `usd_per_hour` is one device's list price, None where no source is named. `kind` is gpu, tpu, accelerator or cpu.
    `origin` is "built in", or the file of the user's that says all this.
    """

    name: str
    vendor: str
    kind: str
    memory_bytes: float
    bandwidth_bytes_s: float
    flops: Mapping[str, float]
    link_bytes_s: float | None
    source: str
    usd_per_hour: float | None = None
    aliases: tuple[str, ...] = field(default=())
    origin: str = BUILT_IN


def _scaled(text: str, unit: float) -> float | None:
    return float(text) * unit if text else None


def _facts(row: Mapping[str, str]) -> PlatformFacts:
    return PlatformFacts(
        name=row["name"],
        vendor=row["vendor"],
        kind=row["kind"],
        memory_bytes=float(row["memory_gib"]) * GIB,
        bandwidth_bytes_s=float(row["bandwidth_gb_s"]) * GIGA,
        flops={dtype: float(row[dtype]) * TERA for dtype in DTYPES if row[dtype]},
        link_bytes_s=_scaled(row["link_gb_s"], GIGA),
        source=row["source"],
        usd_per_hour=_scaled(row["usd_per_hour"], 1.0),
        aliases=tuple(alias.strip() for alias in row["aliases"].split(";") if alias.strip()),
    )


def _load() -> dict[str, PlatformFacts]:
    with Path(__file__).with_name("platforms.csv").open(newline="", encoding="utf-8") as file:
        return {row["name"]: _facts(row) for row in csv.DictReader(file)}


PLATFORMS: dict[str, PlatformFacts] = _load()

_NOISE = re.compile(r"\b(nvidia|amd|intel|gpus?|tensor core|accelerators?)\b")
_COUNT = re.compile(r"^\s*(\d{1,5})\s*[x×*]\s*(?=[a-z])", re.IGNORECASE)


def platform_key(text: str) -> str:
    """Lower case, without makers' names and separators: "Nvidia H100 GPU" and "h100" are one key."""
    return re.sub(r"[^a-z0-9]", "", _NOISE.sub(" ", text.lower().replace("_", " ").replace("-", " ")))


BUILT_IN_PLATFORMS: dict[str, str] = {
    platform_key(alias): facts.name for facts in PLATFORMS.values() for alias in (facts.name, *facts.aliases)
}
"""Key of each name and alias -> name in `PLATFORMS`."""
_SEVERAL = {
    "h100": "h100_pcie or h100_nvl",
    "a100": "a100_sxm_40gb, a100_pcie_40gb or a100_pcie_80gb",
    "a800": "a800_pcie_80gb",
    "h200": "h200_nvl",
    "gh200": "gh200_144gb",
    "rtxpro6000": "rtx_pro_6000_server",
    "rtxpro6000blackwell": "rtx_pro_6000_server",
    "v100": "v100_pcie_32gb",
}


def known_platforms() -> dict[str, PlatformFacts]:
    """Every platform by name: those built in, then the user's own; `local` is not among them.

    Raises:
        InputError: the user's file of facts is wrong; see `own_facts`.
    """
    from perfdb.facts.own import own_facts

    return {**PLATFORMS, **own_facts().platforms}


def _name(text: str) -> str | None:
    from perfdb.facts.own import own_facts

    key = platform_key(text)
    return BUILT_IN_PLATFORMS.get(key) or own_facts().platform_keys.get(key)


def canonical_platform(text: str) -> tuple[str | None, int | None]:
    """Read a hardware cell: (name of a known platform or "local", None if unknown; devices, if the text says how many).

    "Nvidia H100 GPU" -> ("h100_sxm", None); "8xMi300x 1FP8-amd " -> ("mi300x", 8): what follows the device's name is
    ignored here. Case, blanks, dashes and makers' names do not matter.
    """
    found = _COUNT.match(text)
    count = int(found.group(1)) if found else None
    rest = text[found.end() :] if found else text
    if platform_key(rest) == LOCAL:
        return LOCAL, count
    words = re.split(r"[\s_-]+", rest.strip())
    for size in range(len(words), 0, -1):
        name = _name(" ".join(words[:size]))
        if name:
            return name, count
    return None, count


def other_variants(text: str) -> str:
    """The variants that `text` may also mean ("H100" says neither PCIe nor SXM), empty where it is clear."""
    return _SEVERAL.get(platform_key(_COUNT.sub("", text)), "")


def platform(name: str) -> PlatformFacts:
    """Look a platform up by name or alias; "local" is this machine's CPU, described at the call.

    Raises:
        UnknownNameError: no platform is called so.
    """
    if name.strip().lower() == LOCAL:
        from perfdb.facts.local import local_platform

        return local_platform()
    found = _name(name)
    if found is None:
        raise UnknownNameError.of("platform", name, [*known_platforms(), LOCAL])
    return PLATFORMS.get(found) or known_platforms()[found]
