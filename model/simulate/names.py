"""What the tokens of a request are called: two requests with the same name for a block have it, and all before it,
in common."""

from __future__ import annotations

from model.compiled import inner_njit
from model.simulate.state import Requests


@inner_njit
def block_name(requests: Requests, size: int, request: int, place: int) -> int:
    """The name of block `place`, of `size` tokens: of its shared chunk where it lies in one, else of its owner."""
    asked = requests.asked[request]
    if (place + 1) * size <= asked.shared:
        chunk = place * size // requests.chunk_tokens
        within = place - chunk * requests.chunk_tokens // size
        return int((requests.chunks[asked.first_chunk + chunk] << 22 | within) << 1)
    return int((asked.owner << 22 | place) << 1 | 1)


@inner_njit
def blocks_alike(requests: Requests, size: int, left: int, right: int, first: int, end: int) -> int:
    """Up to which block, at most `end`, two requests agree that do so before block `first`."""
    if left == right:
        return end
    of_left, of_right = requests.asked[left], requests.asked[right]
    shared_left, shared_right = of_left.shared // size, of_right.shared // size
    shared = min(shared_left, shared_right, end)
    place = first
    while place < shared:
        chunk = place * size // requests.chunk_tokens
        if requests.chunks[of_left.first_chunk + chunk] != requests.chunks[of_right.first_chunk + chunk]:
            return int(place)
        place = -(-(chunk + 1) * requests.chunk_tokens // size)
    if shared < end and (shared_left != shared_right or of_left.owner != of_right.owner):
        return int(max(min(place, shared), first))
    return end


def with_whole_names(requests: Requests) -> Requests:
    """The same requests, those of one owner that begin with unlike shared chunks as if of different owners.

    Then a block's name stands for all before it too; else turns of a conversation that know more of their chunks could
    call the same place by one name after unlike beginnings.
    """
    owners: dict[tuple[int, int, bytes], int] = {}
    asked = requests.asked.copy()
    for row, each in enumerate(requests.asked):
        shared, first = int(each["shared"]), int(each["first_chunk"])
        chunks = requests.chunks[first : first - (-shared // requests.chunk_tokens)]
        asked["owner"][row] = owners.setdefault((int(each["owner"]), shared, chunks.tobytes()), row)
    return requests._replace(asked=asked)
