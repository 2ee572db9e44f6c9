"""The operating point of a question to the closed form: from flags, or from a workload file as far as it can tell."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from perfdb.errors import InputError
from perfdb.records import Arrival, Workload
from servecast.output import note
from servecast.whatif import workload_of
from servecast.whatif_notes import NOT_SEEN, unseen_text

if TYPE_CHECKING:
    from model.simulate.traffic import Traffic


@dataclass(frozen=True)
class AskedLoad:
    """A workload, what of its file the closed form does not see, and the tokens of a prompt that others brought."""

    workload: Workload
    not_modelled: tuple[str, ...] = ()
    reused: float = 0.0

    @property
    def text(self) -> str:
        """The load in words, for a title."""
        asked = self.workload
        loads = {
            "requests in flight": asked.concurrency,
            "requests/s": asked.request_rate,
            "in one batch": asked.batch_size,
        }
        load = ", ".join(f"{value:g} {unit}" for unit, value in loads.items() if value is not None)
        return f"{asked.isl:g} + {asked.osl:g} tokens, {load}"

    def said(self) -> dict[str, list[str]]:
        """What a document says of it; a person is told, too."""
        if not self.not_modelled:
            return {}
        note(unseen_text(self.not_modelled))
        return {NOT_SEEN: list(self.not_modelled)}


def asked_load(
    isl: float | None,
    osl: float | None,
    workload: Path | None,
    concurrency: int | None,
    rate: float | None,
    batch: int | None = None,
    prefix_tokens: float | None = None,
) -> AskedLoad:
    """The load of exactly one of both lengths, or a workload file whose own load the flags replace.

    The closed form takes mean lengths: of a mix, the mean request. All prompts begin with the same `prefix_tokens`.

    Raises:
        InputError: lengths or load are missing or given twice. FileError: the file cannot be read.
    """
    lengths = _one_of(isl, osl, workload)
    if workload is None:
        shared = prefix_tokens or 0.0
        if shared >= lengths[0]:
            raise InputError.at("--prefix-tokens", f"{shared:g} of a prompt of {lengths[0]:g}", "fewer than --isl")
        return AskedLoad(workload_of(*lengths, concurrency, rate, batch), reused=shared)
    if prefix_tokens is not None:
        raise InputError.at("--prefix-tokens", "beside --workload", "prefixes in the workload file")
    from servecast.workloads import read_workload, workload_under

    if batch is None:
        return _seen(workload_under(workload, rate, concurrency))
    if rate is not None or concurrency is not None:
        other = "--rate" if rate is not None else "--concurrency"
        raise InputError.at("load", f"--batch and {other}", "one of them")
    seen = _seen(read_workload(workload).under(concurrency=batch))
    plain = replace(seen.workload, arrival=Arrival.BATCH, concurrency=None, batch_size=batch)
    return replace(seen, workload=plain)


def asked_traffic(
    isl: float | None, osl: float | None, workload: Path | None, is_rate: bool, is_simulated: bool
) -> tuple[AskedLoad, Traffic]:
    """What is sent, by both lengths or a workload file, under a load that is still to be found.

    Raises:
        InputError: lengths are missing or given twice. FileError: the file cannot be read.
    """
    from model.simulate.traffic import Traffic
    from perfdb.lengths import Lengths
    from servecast.workloads import read_workload

    lengths = _one_of(isl, osl, workload)
    if workload is None:
        traffic = Traffic(Lengths.parse("D({:.12g},{:.12g})".format(*lengths)))
    else:
        traffic = read_workload(workload)
    traffic = traffic.under(rate=1.0) if is_rate else traffic.under(concurrency=1)
    plain, _ = traffic.plain()
    plain = plain if workload is not None else replace(plain, lengths=None)  # as whatif: how they vary is not said
    return (AskedLoad(plain) if is_simulated else replace(_seen(traffic), workload=plain)), traffic


def _seen(traffic: Traffic) -> AskedLoad:
    """What the closed form sees of traffic: of shared prefixes and conversations what they leave to compute."""
    from model.simulate.traffic import reused_tokens

    plain, left_out = traffic.plain()
    return AskedLoad(plain, tuple(name for name in left_out if name != "shared prefixes"), reused_tokens(traffic))


def _one_of(isl: float | None, osl: float | None, workload: Path | None) -> tuple[float, float]:
    """Both lengths, zeros where a file has them."""
    given = [flag for flag, value in (("--isl", isl), ("--osl", osl)) if value is not None]
    if workload is not None:
        if given:
            raise InputError.at("lengths", f"{' and '.join(given)} beside --workload", "one of both")
        return 0.0, 0.0
    if isl is None or osl is None:
        lacks = f"{given[0]} without {'--osl' if isl is not None else '--isl'}" if given else "none given"
        raise InputError.at("lengths", lacks, "--isl and --osl, or --workload with a file")
    return isl, osl
