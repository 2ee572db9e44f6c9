"""The operating point of a question to the closed form: from flags, or from a workload file as far as it can tell.

`--isl` and `--osl` are means, of which nobody says how far lengths differ; `--scenario` and files say it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from perfdb.errors import InputError
from perfdb.lengths import Lengths
from perfdb.records import Arrival, Provenance, Workload
from servecast.output import note
from servecast.predicting.whatif_notes import NOT_SEEN, means_text, unseen_text

if TYPE_CHECKING:
    from model.closed_form.prefix_cache import SharedPrefixes
    from model.simulate.traffic import Traffic

MOST_TOKENS = 1e9


@dataclass(frozen=True)
class AskedLoad:
    """A workload, what of its file the closed form does not see, and the tokens of a prompt that others brought, of the
    `prefixes` that a cache has to hold for that.

    `is_half_in_step`: of a closed loop nothing is known but mean lengths, and how far requests stay in step is assumed.
    """

    workload: Workload
    not_modelled: tuple[str, ...] = ()
    reused: float = 0.0
    is_half_in_step: bool = False
    prefixes: SharedPrefixes | None = None

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

    def told(self, answer: dict[str, Any]) -> dict[str, Any]:
        """The document of an answer with what the load leaves open; what the closed form does not see is printed."""
        is_predicted = any(row["provenance"] != Provenance.MEASURED for row in answer["rows"])
        if self.is_half_in_step and is_predicted and answer["mode"] != "disagg":
            said = means_text(self.workload.isl or 0.0, self.workload.osl or 0.0)
            answer = {**answer, "warnings": [*answer["warnings"], said]}
        if not self.not_modelled:
            return answer
        note(unseen_text(self.not_modelled))
        return {**answer, NOT_SEEN: list(self.not_modelled)}


def asked_load(
    isl: float | None,
    osl: float | None,
    workload: Path | None,
    concurrency: int | None,
    rate: float | None,
    batch: int | None = None,
    prefix_tokens: float | None = None,
    scenario: str | None = None,
) -> AskedLoad:
    """The load of mean lengths or those of a scenario, or a workload file whose own load the flags replace.

    The closed form takes mean lengths: of a mix, the mean request. All prompts begin with the same `prefix_tokens`.

    Raises:
        InputError: lengths or load are missing, given twice or cannot be read. FileError: the file cannot be read.
    """
    _check_lengths(isl, osl, scenario, workload)
    if workload is not None:
        return _of_file(workload, concurrency, rate, batch, prefix_tokens)
    lengths = None if scenario is None else Lengths.parse(scenario)
    means = (isl or 0.0, osl or 0.0) if lengths is None else (lengths.isl, lengths.osl)
    if lengths is not None and max(means) > MOST_TOKENS:
        raise InputError.at("--scenario", f"a mean of {max(means):g} tokens", f"up to {MOST_TOKENS:.0e}")
    shared = prefix_tokens or 0.0
    if shared >= means[0]:
        right = "fewer than --isl" if lengths is None else "fewer than a prompt has"
        raise InputError.at("--prefix-tokens", f"{shared:g} of a prompt of {means[0]:g}", right)
    plain = workload_of(*means, concurrency, rate, batch)
    if lengths is None:
        return AskedLoad(plain, reused=shared, is_half_in_step=(concurrency or 0) > 1)
    return AskedLoad(replace(plain, lengths=str(lengths)), reused=_shared_by(lengths, shared))


def workload_of(isl: float, osl: float, concurrency: int | None, rate: float | None, batch: int | None) -> Workload:
    """The operating point of a question; exactly one load must be given.

    Raises:
        InputError: none or several of concurrency, rate and batch.
    """
    loads = {"--concurrency": concurrency, "--rate": rate, "--batch": batch}
    given = [flag for flag, value in loads.items() if value is not None]
    if len(given) != 1:
        raise InputError.at("load", f"{' and '.join(given) or 'none'} given", f"exactly one of {', '.join(loads)}")
    arrival = {"--concurrency": Arrival.CLOSED, "--rate": Arrival.POISSON, "--batch": Arrival.BATCH}[given[0]]
    for flag, value in (("--isl", isl), ("--osl", osl), (given[0], loads[given[0]])):
        if value is None or not 0 < value <= MOST_TOKENS:
            raise InputError.at(flag, f"{value} is out of range", f"a number above 0 and up to {MOST_TOKENS:.0e}")
    return Workload(isl=isl, osl=osl, arrival=arrival, concurrency=concurrency, request_rate=rate, batch_size=batch)


def asked_traffic(
    isl: float | None,
    osl: float | None,
    workload: Path | None,
    is_rate: bool,
    is_simulated: bool,
    scenario: str | None = None,
) -> tuple[AskedLoad, Traffic]:
    """What is sent, by mean lengths, those of a scenario or a workload file, under a load that is still to be found.

    Raises:
        InputError: lengths are missing, given twice or cannot be read. FileError: the file cannot be read.
    """
    from model.simulate.traffic import Traffic
    from servecast.loads.workloads import read_workload

    _check_lengths(isl, osl, scenario, workload)
    if workload is None:
        traffic = Traffic(Lengths.parse(scenario or f"D({isl:.12g},{osl:.12g})"))
    else:
        traffic = read_workload(workload)
    traffic = traffic.under(rate=1.0) if is_rate else traffic.under(concurrency=1)
    if is_simulated:
        return AskedLoad(traffic.plain()[0]), traffic
    seen = _seen(traffic)
    if isl is None:
        return seen, traffic
    means = replace(seen.workload, lengths=None)
    return replace(seen, workload=means, is_half_in_step=not is_rate), traffic


def _of_file(
    path: Path, concurrency: int | None, rate: float | None, batch: int | None, prefix_tokens: float | None
) -> AskedLoad:
    if prefix_tokens is not None:
        raise InputError.at("--prefix-tokens", "beside --workload", "prefixes in the workload file")
    from servecast.loads.workloads import read_workload, workload_under

    if batch is None:
        return _seen(workload_under(path, rate, concurrency))
    if rate is not None or concurrency is not None:
        other = "--rate" if rate is not None else "--concurrency"
        raise InputError.at("load", f"--batch and {other}", "one of them")
    seen = _seen(read_workload(path).under(concurrency=batch))
    plain = replace(seen.workload, arrival=Arrival.BATCH, concurrency=None, batch_size=batch)
    return replace(seen, workload=plain)


def _seen(traffic: Traffic) -> AskedLoad:
    """What the closed form sees of traffic: of shared prefixes and conversations what they leave to compute."""
    from model.simulate.traffic import reused_tokens

    plain, left_out = traffic.plain()
    unseen = tuple(name for name in left_out if name != "shared prefixes")
    alone = traffic.prefixes is not None and traffic.prefixes.share > 0 and traffic.conversations is None
    shared = traffic.prefixes.shared if alone and traffic.prefixes else None
    return AskedLoad(plain, unseen, reused_tokens(traffic), prefixes=shared)


def _shared_by(lengths: Lengths, tokens: float) -> float:
    """Mean tokens of a prompt that begins with the same so many as all others, or with as many of them as it has."""
    from model.simulate.traffic import Prefixes, Traffic, reused_tokens

    return reused_tokens(Traffic(lengths, prefixes=Prefixes(1.0, 1, (tokens, tokens)))) if tokens else 0.0


def _check_lengths(isl: float | None, osl: float | None, scenario: str | None, workload: Path | None) -> None:
    """Refuse lengths that are not said, or said twice."""
    flags = {"--isl": isl, "--osl": osl, "--scenario": scenario, "--workload": workload}
    given = [flag for flag, value in flags.items() if value is not None]
    if given not in (["--isl", "--osl"], ["--scenario"], ["--workload"]):
        right = '--isl and --osl, or --scenario such as "D(512,128)", or --workload with a file'
        raise InputError.at("lengths", " and ".join(given) or "none given", right)
