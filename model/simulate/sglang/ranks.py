"""Several SGLang schedulers over the same requests: ranks, each of which may keep several running batches.

A rank has one queue, one radix tree and one pool of pages, and one prompt that it computes in parts. Its micro-batches,
one per stage of a pipeline, have each a running batch of their own.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from model.compiled import inner_njit
from model.simulate.blocks import NONE, Ints
from model.simulate.records import Record
from model.simulate.sglang.radix import Tree
from model.simulate.sglang.server import Engine, Server, SglangSettings, new_server, trees_of
from model.simulate.state import Requests


class Ranks(NamedTuple):
    """r ranks of m `batches` each. `servers`: arrays of all r · m micro-batches, one row each; of `waiting` one row per
    rank; `seats` are of all, since no request is in two, with an anchor for each. `trees`: one row per rank. `latest`,
    r: the micro-batch that acted last, which knows what all of a rank share; `partial`, r: the prompt that is computed
    in parts, or NONE. `pages`: of each rank's pool."""

    servers: Server
    trees: Tree
    latest: Ints
    partial: Ints
    batches: int
    pages: int


def new_ranks(settings: SglangSettings, requests: Requests, count: int, batches: int) -> Ranks:
    """`count` fresh ranks."""
    server, n, rows = new_server(settings, requests), len(requests.asked), count * batches
    anchors, seats = np.arange(n, n + rows), np.resize(server.seats[:1], n + rows)
    seats["before"][n:] = seats["after"][n:] = anchors
    names = ("status", "bucket", "classes", "plan", "lists", "finished")
    stacked = {name: np.stack([getattr(server, name)] * rows) for name in names}
    servers = Server(seats=seats, waiting=np.stack([server.waiting] * count), **stacked)
    latest, partial = np.arange(count) * batches, np.full(count, NONE, dtype=np.int64)
    trees = trees_of(settings, requests, count)
    return Ranks(servers, trees, latest, partial, batches, settings.num_blocks)


@inner_njit
def engine_of(ranks: Ranks, rank: int, batch: int) -> Engine:
    """One micro-batch, as `scheduler` takes it, with what the one before it left of what all of its rank share."""
    servers, trees, row = ranks.servers, ranks.trees, rank * ranks.batches + batch
    last = ranks.latest[rank]
    if last != row:
        _hand_on(servers.status[last][0], servers.status[row][0])
        ranks.latest[rank] = row
    requests = len(servers.seats) - len(servers.status)
    server = Server(
        servers.seats[: requests + row + 1], servers.status[row], servers.bucket[row], servers.classes[row],
        servers.waiting[rank], servers.plan[row], servers.lists[row], servers.finished[row],
    )  # fmt: skip
    return server, Tree(trees.nodes[rank], trees.slots[rank], trees.lists[rank], trees.status[rank])


@inner_njit
def _hand_on(last: Record, own: Record) -> None:
    """Pages, the ratio and the queue are of all of a rank."""
    own.free, own.ratio, own.head, own.tail, own.sorted = last.free, last.ratio, last.head, last.tail, last.sorted
