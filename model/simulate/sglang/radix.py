"""SGLang's prefix cache: a tree of pages with least recently used leaves going first, compiled.

A node holds the pages `first` to `end` of a sequence, after those of its parent; the tokens are those of the request
that brought them (`owner`), and the name of its first page finds it. Who runs holds all nodes from its own to the root,
which nobody may evict. Times are counts of what was done to the tree.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from model.compiled import inner_njit
from model.simulate.blocks import NONE, Ints, Ints32
from model.simulate.names import block_name, blocks_alike
from model.simulate.slots import new_slots, slot_of, vacate
from model.simulate.state import Requests

ROOT = 0
_NODE = np.dtype(
    [
        ("parent", np.int64), ("owner", np.int64), ("first", np.int64), ("end", np.int64), ("children", np.int64),
        ("users", np.int64), ("is_ranked", np.int64), ("touched", np.int64),
    ]
)  # fmt: skip


class Tree(NamedTuple):
    """`nodes` by number, `slot_key` and `slot_node` from names to them.

    `heap`: pairs of a time and a node that could be evicted then, the earliest first; a node that was touched since
    moves back when it comes up. `spare`: numbers that were given back. `counts`: the scalars named below.
    """

    nodes: npt.NDArray[np.void]
    slot_key: Ints
    slot_node: Ints32
    heap: Ints
    spare: Ints
    counts: Ints


CLOCK, IDLE, HEAP, SPARE, NODES = range(5)
"""Places in `Tree.counts`: the time, pages that nobody holds, lengths of `heap` and `spare`, node numbers ever used."""


def new_tree(pages: int) -> Tree:
    """A root, which is never evicted, and room for so many pages."""
    nodes = np.zeros(pages + 2, dtype=_NODE)
    nodes["users"][ROOT] = 1
    counts = np.zeros(5, dtype=np.int64)
    counts[NODES] = 1
    heap, spare = np.zeros((pages + 2, 2), dtype=np.int64), np.zeros(pages + 2, dtype=np.int64)
    return Tree(nodes, *new_slots(pages + 1), heap, spare, counts)


@inner_njit
def match(tree: Tree, requests: Requests, size: int, request: int, pages: int) -> tuple[int, int]:
    """The node that ends with the last of a request's first `pages` pages that the tree holds, and how many it holds.

    All nodes on the way are touched; one that matches in part is split.
    """
    nodes, counts = tree.nodes, tree.counts
    counts[CLOCK] += 2
    node, at = ROOT, 0
    while at < pages:
        child = tree.slot_node[slot_of(tree.slot_key, block_name(requests, size, request, at))]
        if child == NONE:
            break
        nodes[child].touched = counts[CLOCK] - 1
        node, end = child, nodes[child].end
        at = blocks_alike(requests, size, nodes[child].owner, request, at, min(end, pages))
        if at < end:
            node = _split(tree, requests, size, child, at)
            break
    return node, at


@inner_njit
def insert(tree: Tree, requests: Requests, size: int, request: int, pages: int) -> tuple[int, int]:
    """Let the tree have the first `pages` pages of a request: the node that ends with them, and how many were there."""
    node, found = match(tree, requests, size, request, pages)
    if found == pages:
        return node, found
    leaf = _new_node(tree, node, request, found, pages)
    _name(tree, requests, size, leaf)
    tree.nodes[node].children += 1
    tree.counts[IDLE] += pages - found
    _rank(tree, leaf)
    return leaf, found


@inner_njit
def touch(tree: Tree, node: int) -> None:
    """A node and all above it were looked at."""
    tree.counts[CLOCK] += 2
    while node != ROOT:
        tree.nodes[node].touched = tree.counts[CLOCK]
        node = tree.nodes[node].parent


@inner_njit
def hold(tree: Tree, node: int) -> None:
    """One more user of a node and all above it."""
    nodes = tree.nodes
    while node != ROOT:
        if nodes[node].users == 0:
            tree.counts[IDLE] -= nodes[node].end - nodes[node].first
        nodes[node].users += 1
        node = nodes[node].parent


@inner_njit
def let_go(tree: Tree, node: int) -> None:
    """One user less of a node and all above it."""
    nodes = tree.nodes
    while node != ROOT:
        nodes[node].users -= 1
        if nodes[node].users == 0:
            tree.counts[IDLE] += nodes[node].end - nodes[node].first
            _rank(tree, node)
        node = nodes[node].parent


@inner_njit
def pages_held_by_none(tree: Tree, node: int) -> int:
    """How many pages from a node up to the root nobody holds."""
    pages = 0
    while node != ROOT:
        if tree.nodes[node].users == 0:
            pages += tree.nodes[node].end - tree.nodes[node].first
        node = tree.nodes[node].parent
    return pages


@inner_njit
def evict(tree: Tree, requests: Requests, size: int, tokens: int) -> int:
    """Give up whole leaves that nobody holds until they are `tokens`, or none is left; answers their pages."""
    nodes, pages = tree.nodes, 0
    while pages * size < tokens and tree.counts[HEAP] > 0:
        touched, node = _pop(tree)
        if nodes[node].users > 0 or nodes[node].children > 0:
            continue
        if nodes[node].touched > touched:
            _rank(tree, node)
            continue
        held = nodes[node].end - nodes[node].first
        pages += held
        tree.counts[IDLE] -= held
        name = block_name(requests, size, nodes[node].owner, nodes[node].first)
        vacate(tree.slot_key, tree.slot_node, slot_of(tree.slot_key, name))
        parent = nodes[node].parent
        tree.spare[tree.counts[SPARE]] = node
        tree.counts[SPARE] += 1
        nodes[parent].children -= 1
        _rank(tree, parent)
    return pages


@inner_njit
def _new_node(tree: Tree, parent: int, owner: int, first: int, end: int) -> int:
    counts = tree.counts
    if counts[SPARE] > 0:
        counts[SPARE] -= 1
        node = np.int64(tree.spare[counts[SPARE]])
    else:
        node = counts[NODES]
        counts[NODES] += 1
    made = tree.nodes[node]
    made.parent, made.owner, made.first, made.end = parent, owner, first, end
    made.children, made.users, made.touched = 0, 0, counts[CLOCK]
    return int(node)


@inner_njit
def _name(tree: Tree, requests: Requests, size: int, node: int) -> None:
    """Let the name of a node's first page find it."""
    key = block_name(requests, size, tree.nodes[node].owner, tree.nodes[node].first)
    slot = slot_of(tree.slot_key, key)
    tree.slot_key[slot], tree.slot_node[slot] = key, node


@inner_njit
def _split(tree: Tree, requests: Requests, size: int, node: int, at: int) -> int:
    """Divide a node before page `at`; answers the upper part, which is new."""
    nodes = tree.nodes
    upper = _new_node(tree, nodes[node].parent, nodes[node].owner, nodes[node].first, at)
    nodes[upper].users, nodes[upper].children = nodes[node].users, 1
    nodes[node].parent, nodes[node].first = upper, at
    _name(tree, requests, size, upper)
    _name(tree, requests, size, node)
    return int(upper)


@inner_njit
def _rank(tree: Tree, node: int) -> None:
    """A leaf that nobody holds can be evicted when its turn comes."""
    nodes, heap, counts = tree.nodes, tree.heap, tree.counts
    if nodes[node].users > 0 or nodes[node].children > 0 or nodes[node].is_ranked:
        return
    nodes[node].is_ranked = 1
    touched, place = nodes[node].touched, counts[HEAP]
    counts[HEAP] += 1
    while place > 0 and heap[(place - 1) >> 1, 0] > touched:
        parent = (place - 1) >> 1
        heap[place, 0], heap[place, 1] = heap[parent, 0], heap[parent, 1]
        place = parent
    heap[place, 0], heap[place, 1] = touched, node


@inner_njit
def _pop(tree: Tree) -> tuple[int, int]:
    heap, counts = tree.heap, tree.counts
    first, node = heap[0, 0], heap[0, 1]
    tree.nodes[node].is_ranked = 0
    counts[HEAP] -= 1
    size = counts[HEAP]
    touched, moved, place = heap[size, 0], heap[size, 1], 0
    while 2 * place + 1 < size:
        child = 2 * place + 1
        if child + 1 < size and heap[child + 1, 0] < heap[child, 0]:
            child += 1
        if touched <= heap[child, 0]:
            break
        heap[place, 0], heap[place, 1] = heap[child, 0], heap[child, 1]
        place = child
    heap[place, 0], heap[place, 1] = touched, moved
    return first, node
