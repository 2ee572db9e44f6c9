"""The modes of `whatif`: prefill and decode in one server, in two pools, or both ways compared."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from perfdb.errors import InputError, UnknownNameError

if TYPE_CHECKING:
    from model.disagg.units import Sharing
    from perfdb.store import Store
    from servecast.predicting.whatif import WhatIf
    from servecast.slo import Slo

MODES = ("agg", "disagg", "both")
Told = tuple[dict[str, Any], Callable[[Mapping[str, Any]], None]]
"""A document, and what tells it to a person."""


@dataclass(frozen=True)
class Mode:
    """One of `MODES`; but for agg how two pools share devices, and the decode pool's platform if it is another; and the
    bounds that are to be kept."""

    name: str
    sharing: Sharing | None = None
    decode: str | None = None
    slos: tuple[Slo, ...] = ()


AGGREGATED = Mode("agg")


def mode_of(
    name: str,
    devices: int | None,
    given: Mapping[str, float | None],
    decode: str | None,
    slo: str | None,
    parameters: Iterable[str] = (),
) -> Mode:
    """The mode with its flags: `given` are `efficiency`, `router_limit` (requests/s) and `link` (GB/s); `parameters`
    those of --set, which may be of one pool ("prefill.tp").

    Raises:
        UnknownNameError: no such mode. InputError: a flag or a parameter belongs to another mode, or is out of range.
    """
    if name not in MODES:
        raise UnknownNameError.of("mode", name, MODES)
    flags = {flag: value for flag, value in given.items() if value is not None}
    from servecast.slo import parse_slos

    slos = parse_slos(slo) if slo is not None else ()
    if name == "agg":
        wrong = [f"--{flag.replace('_', '-')}" for flag in flags] + (["--decode"] if decode is not None else [])
        if wrong:
            raise InputError.at(wrong[0], "beside --mode agg", "--mode disagg or both")
        _check_whole(parameters)
        return Mode("agg", slos=slos)
    from model.disagg.units import Sharing

    for flag, value in flags.items():
        most = 1.0 if flag == "efficiency" else 1e9
        if not 0 < value <= most:
            raise InputError.at(f"--{flag.replace('_', '-')}", f"{value}", f"a number above 0 and up to {most:g}")
    if "link" in flags:
        flags["link"] *= 1e9
    return Mode(name, Sharing(devices, **flags), decode, slos)


def _check_whole(parameters: Iterable[str]) -> None:
    """Refuse parameters of one pool where there are none."""
    dotted = [text.partition(".") for text in parameters if "." in text]
    if not dotted:
        return
    from model.disagg.units import POOLS

    for pool, dot, name in dotted:
        if pool in POOLS:
            what = f"a parameter of the {pool} pool, and --mode agg has no pools"
            raise InputError.at(f"--set {pool}{dot}{name}", what, f"--mode disagg beside it, or no {pool!r} there")


def answer_in_mode(asked: WhatIf, store: Store, mode: Mode, explained: bool, most: int | None) -> Told:
    """Answer a question; `explained` and `most` as in `servecast.predicting.whatif.whatif`.

    Raises:
        See `servecast.predicting.whatif.whatif`, `servecast.predicting.disagg.disagg` and
        `servecast.predicting.both_modes.both_modes`.
    """
    from servecast.slo import check_gaps

    check_gaps(mode.slos, (asked.workload.osl or 0.0) > 1)
    if mode.sharing is None:
        from servecast.predicting.whatif import whatif
        from servecast.predicting.whatif_text import say_whatif

        return whatif(asked, store, explained, most, mode.slos), say_whatif
    from servecast.predicting.disagg import DisaggAsked, disagg
    from servecast.predicting.disagg_text import say_both, say_disagg

    question = DisaggAsked(asked, mode.decode, mode.sharing)
    if mode.name == "disagg":
        return disagg(question, store, explained, most, mode.slos), say_disagg
    from servecast.predicting.both_modes import both_modes

    if explained:
        raise InputError.at("--explain", "--mode both", "--mode agg or disagg")
    return both_modes(question, mode.slos, store, most), say_both
