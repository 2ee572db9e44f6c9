"""What people call things: a column's name to its meaning, with the statistic and the unit that the name tells.

Every name here was met in a public benchmark file. Names are compared without case, blanks and punctuation. The four
kinds of load (static batch, client concurrency, request rate, server's cap) are four fields and never taken for one
another; llama.cpp's n_batch is none of them.
"""

from __future__ import annotations

import re
from functools import lru_cache

from perfdb.errors import UnknownNameError
from perfdb.importers.table.fields import HELPERS, SET_FIELDS, Kind, Meaning, engine_parameters, field_meaning
from perfdb.metrics import METRICS, Statistic


def _table(text: str) -> dict[str, str]:
    """ "field: name name" lines to squeezed name -> field."""
    pairs = (line.split(":", 1) for line in text.strip().splitlines())
    return {name: field.strip() for field, names in pairs for name in names.split()}


_CONTEXT = _table("""
model: model modelid modelname usedmodel modelclean modelfilename modelpath
platform: hardware platform gpu gputype gpumodel gpuname accelerator acceleratortype servergputype device hw
devices: numofhardware numgpus numgpu nrgpus ngpus gpucount gpus anum devices numdevices nrofgpus
engine: framework engine servingengine serverengine inferenceengine servingframework
engine_version: engineversion vllmversion sglangversion frameworkversion
isl: isl inputlen inputlength promptsize randominputlen nprompt ctx promptlen promptlength inputsequencelength
osl: osl outputlen outputlength outlen tokensize randomoutputlen ngen otl genlen outputsequencelength
concurrency: concurrency maxconcurrency conc numconcurrency numusers nusers concurrentrequests numconcurrentrequests
request_rate: requestrate qps rate targetqps
batch_size: batchsize staticbatchsize
lengths: lengths scenario trafficscenario
requests: requests numprompts numrequests nreq
warmup_requests: warmuprequests numwarmups numwarmup
client: client benchmarktool
arrival: arrival arrivalprocess
outcome: outcome
origin: origin
measured_at: date timestamp datetime measuredat
""")
_HELPER = _table("""
io_len: inputoutputlength inputoutputlen ioln
completed: completed successfulrequests numcompletedrequests completedrequests
failed: failed nbad numerrorrequests failedrequests numfailed
error_rate: errorrate
total_input_tokens: totalinputtokens totalinput
total_output_tokens: totaloutputtokens totalgeneratedtokens totaloutput
throughput: throughput tokenspersecond tokenspersec tps tokenthroughput
throughput_per_gpu: throughputpergpu tputpergpu tokenspersecondpergpu
burstiness: burstiness
unit: unit units throughputunit
status: status resultis errortype result
""")
_METRIC = _table("""
ttft_s: ttft timetofirsttoken firsttokenlatency ttftlatency
tpot_s: tpot timeperoutputtoken timetooutputtoken
itl_s: itl intertokenlatency intertokentime timebetweentokens tbt
e2e_s: e2e e2el e2elatency e2etime latency requestlatency endtoendlatency elapsedtime
output_tps: outputthroughput outputtokenthroughput outputtps outputtokenspersecond generationthroughput
total_tps: totaltokenthroughput totalthroughput totaltps totaltokensthroughput totaltokenspersecond
input_tps: inputthroughput inputtokenthroughput inputtps inputtokenspersecond prefillthroughput
request_tps: requestthroughput requestspersecond requestspersec requestspermin requestsperminute rps
output_tps_per_gpu: outputthroughputpergpu outputtpspergpu outputtokenthroughputpergpu outputtputpergpu
input_tps_per_gpu: inputthroughputpergpu inputtpspergpu inputtokenthroughputpergpu inputtputpergpu
total_tps_per_gpu: totalthroughputpergpu totaltpspergpu totaltokenthroughputpergpu
output_tps_per_user: outputthroughputperuser outputtpsperuser outputtokenthroughputperuser tokenspersecondperuser
success_rate: successrate
input_tokens: in inputtokens prompttokens
output_tokens: out outputtokens
duration_s: duration benchmarkduration testduration
power_w: power gpupower powerdraw
memory_bytes: memory gpumemory memoryusage memoryused
""")
_ROLE = _table("""
tp: tp tpsize tensorparallel tensorparallelsize tensorparallelism
pp: pp ppsize pipelineparallel pipelineparallelsize pipelineparallelism
dp: dp dpsize dataparallel dataparallelsize dataparallelism
ep: ep epsize expertparallel expertparallelsize
max_num_seqs: maxnumseqs
""")
# Two tools say milliseconds in their documentation and nothing in the name.
_MILLISECONDS = {"prompttime": "ttft_s", "tokentime": "tpot_s"}
_STATISTICS = {
    "mean": Statistic.MEAN,
    "avg": Statistic.MEAN,
    "average": Statistic.MEAN,
    "median": Statistic.MEDIAN,
    "stddev": Statistic.STD,
} | {str(statistic): statistic for statistic in Statistic if statistic is not Statistic.VALUE}
_UNITS = {
    "seconds": "s", "second": "s", "secs": "s", "sec": "s", "s": "s", "milliseconds": "ms", "msec": "ms", "ms": "ms",
    "microseconds": "us", "us": "us", "µs": "us", "nanoseconds": "ns", "ns": "ns", "minutes": "min", "min": "min",
    "w": "W", "watts": "W", "watt": "W", "mw": "mW", "kw": "kW",
    "bytes": "B", "kib": "KiB", "mib": "MiB", "gib": "GiB", "mb": "MB", "gb": "GB",
    "tok/s": "tok/s", "tokens/s": "tok/s", "toks/s": "tok/s", "token/s": "tok/s", "tokens/sec": "tok/s", "t/s": "tok/s",
    "req/s": "req/s", "requests/s": "req/s", "requests/sec": "req/s", "queries/s": "req/s", "samples/s": "req/s",
    "req/min": "req/min", "requests/min": "req/min", "%": "%", "percent": "%",
}  # fmt: skip
_TOKEN_RATES = ("tokens_per_second", "tokens_per_sec", "tok_per_s", "tokens_per_s", "toks_per_s", "tok_s", "tokens_s")
_REQUEST_RATES = ("req_per_s", "req_s", "requests_s")


def squeeze(name: str) -> str:
    """Lower case letters and digits only; "#" reads as "num"."""
    return re.sub(r"[^a-z0-9]", "", name.lower().replace("#", "num"))


def unit_of(text: str) -> str:
    """The unit that a text names, "" if it names none that we know."""
    return _UNITS.get(text.strip().lower().replace(" ", ""), "")


def known_units() -> list[str]:
    """Every unit by its shortest spelling."""
    return sorted(set(_UNITS.values()))


@lru_cache(maxsize=4096)
def meaning(header: str) -> Meaning | None:
    """What a column of this name holds; None if the name is not known."""
    if header.strip().startswith(("config.", "extra.")):
        return _canonical(header)
    name, declared = _split_unit(header)
    squeezed = squeeze(name)
    for table, kind in ((_CONTEXT, Kind.CONTEXT), (_HELPER, Kind.HELPER)):
        if squeezed in table:
            return Meaning(kind, table[squeezed], unit=declared)
    if squeezed in _ROLE:
        return Meaning(Kind.CONFIG, _ROLE[squeezed])
    found = _metric(name, declared)
    if found is not None:
        return found
    parameter = name.strip().lower().replace("-", "_").replace(" ", "_").removeprefix("config.")
    return Meaning(Kind.CONFIG, parameter) if parameter in engine_parameters() else _canonical(name)


def _canonical(name: str) -> Meaning | None:
    """Our own names, so that what was exported can be read again."""
    plain = name.strip()
    if plain not in METRICS and not plain.startswith(("config.", "extra.")):
        base = plain.split(":")[0].partition("_")[2]
        if base not in METRICS and plain.split(":")[0] not in METRICS and plain not in (*SET_FIELDS, *HELPERS):
            return None
    try:
        return field_meaning(plain, "column")
    except UnknownNameError:
        return None


def _split_unit(header: str) -> tuple[str, str]:
    """ "Mean TTFT (ms)" -> ("Mean TTFT", "ms")."""
    found = re.search(r"[(\[]([^()\[\]]*)[)\]]\s*$", header)
    if found and unit_of(found.group(1)):
        return header[: found.start()], unit_of(found.group(1))
    return header, ""


def _words(name: str) -> list[str]:
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name.replace("%", " percent"))
    return [word for word in re.split(r"[^a-z0-9µ]+", spaced.lower()) if word and word != "stats"]


def _metric(name: str, declared: str) -> Meaning | None:
    words = _words(name)
    statistic, words = _take_statistic(words)
    found = _base(words, declared)
    if found is None:
        return None
    metric, unit = found
    if metric in HELPERS:
        return Meaning(Kind.HELPER, metric, unit=unit)
    return Meaning(Kind.METRIC, metric, statistic, unit)


def _take_statistic(words: list[str]) -> tuple[Statistic, list[str]]:
    for place in (0, -1):
        if len(words) > 1 and words[place] in _STATISTICS:
            rest = words[1:] if place == 0 else words[:-1]
            return _STATISTICS[words[place]], rest
    return Statistic.VALUE, words


def _base(words: list[str], declared: str) -> tuple[str, str] | None:
    """(metric or helper, unit) of a name without its statistic; a trailing unit is taken off if that makes it known."""
    joined = "".join(words)
    if joined in _MILLISECONDS:
        return _MILLISECONDS[joined], declared or "ms"
    if joined in _METRIC:
        return _METRIC[joined], declared or ("req/min" if joined.startswith("requestspermin") else "")
    phrase = "_".join(words)
    for rate in (*_TOKEN_RATES, *_REQUEST_RATES):
        if phrase == rate or phrase.endswith("_" + rate):
            unit = "req/s" if rate in _REQUEST_RATES else "tok/s"
            rest = phrase.removesuffix(rate).replace("_", "")
            metric = "request_tps" if unit == "req/s" else _token_rate(rest)
            return (metric, unit) if metric else None
    if len(words) > 1 and words[-1] in _UNITS:
        rest = "".join(words[:-1])
        metric = _MILLISECONDS.get(rest) or _METRIC.get(rest)
        return (metric, declared or _UNITS[words[-1]]) if metric else None
    return None


def _token_rate(counted: str) -> str | None:
    """ "output" of "Output tok/s" is output_tps; "" is a throughput of a kind that is not told."""
    return _METRIC.get(counted) or _METRIC.get(f"{counted}tokenspersecond") or _HELPER.get(counted or "throughput")
