"""What the tokens of a request are called: two requests with the same name for a block have it, and all before it,
in common."""

from __future__ import annotations

import numpy as np

from model.compiled import inner_njit
from model.simulate.state import Requests


@inner_njit
def block_name(requests: Requests, size: int, request: int, place: int) -> int:
    """The name of block `place`, of `size` tokens: of its shared chunk where it lies in one, else of its owner."""
    if (place + 1) * size <= requests.shared[request]:
        chunk = place * size // requests.chunk_tokens
        within = place - chunk * requests.chunk_tokens // size
        return int((requests.chunks[requests.first_chunk[request] + chunk] << 22 | within) << 1)
    return int((requests.owner[request] << 22 | place) << 1 | 1)


@inner_njit
def blocks_alike(requests: Requests, size: int, left: int, right: int, first: int, end: int) -> int:
    """Up to which block, at most `end`, two requests agree that do so before block `first`."""
    if left == right:
        return end
    shared_left, shared_right = requests.shared[left] // size, requests.shared[right] // size
    shared = min(shared_left, shared_right, end)
    place = first
    while place < shared:
        chunk = place * size // requests.chunk_tokens
        of_left = requests.chunks[requests.first_chunk[left] + chunk]
        if of_left != requests.chunks[requests.first_chunk[right] + chunk]:
            return int(place)
        place = -(-(chunk + 1) * requests.chunk_tokens // size)
    if shared < end and (shared_left != shared_right or requests.owner[left] != requests.owner[right]):
        return int(max(min(place, shared), first))
    return end


def with_whole_names(requests: Requests) -> Requests:
    """The same requests, those of one owner that begin with unlike shared chunks as if of different owners.

    Then a block's name stands for all before it too; else turns of a conversation that know more of their chunks could
    call the same place by one name after unlike beginnings.
    """
    owners: dict[tuple[int, int, bytes], int] = {}
    owner = np.empty_like(requests.owner)
    for row in range(len(owner)):
        shared = int(requests.shared[row])
        first = int(requests.first_chunk[row])
        chunks = requests.chunks[first : first - (-shared // requests.chunk_tokens)]
        owner[row] = owners.setdefault((int(requests.owner[row]), shared, chunks.tobytes()), row)
    return requests._replace(owner=owner)
