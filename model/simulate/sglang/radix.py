"""SGLang's prefix cache: a tree of pages with least recently used leaves going first, compiled.

A node holds the pages `first` to `end` of a sequence, after those of its parent; the tokens are those of the request
that brought them (`owner`), and the name of its first page finds it. Who runs holds all nodes from its own to the root,
which nobody may evict. Times are counts of what was done to the tree.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from model.compiled import inner_njit
from model.simulate.blocks import NONE
from model.simulate.names import block_name, blocks_alike
from model.simulate.records import Records, of_ints
from model.simulate.slots import Slots, new_slots, slot_of, vacate
from model.simulate.state import Requests

ROOT = 0
_NODE = of_ints("parent", "owner", "first", "end", "children", "users", "is_ranked", "touched")
_LISTS = of_ints("touched", "node", "spare")
_STATUS = of_ints("clock", "idle", "ranked", "spare", "used")


class Tree(NamedTuple):
    """`nodes` by number, `slots` from names to them.

    `lists[:ranked]`: a heap of when a node was `touched` and the `node`, which could be evicted then, the earliest
    first; one that was touched since moves back when it comes up. `lists[:spare].spare`: numbers that were given back.
    `status[0]`: the time, `clock`; pages that nobody holds, `idle`; lengths of both lists; node numbers ever `used`.
    """

    nodes: Records
    slots: Slots
    lists: Records
    status: Records


def new_trees(pages: int, count: int) -> Tree:
    """`count` trees, a row each: a root, which is never evicted, and room for so many pages."""
    nodes, lists = np.zeros((count, pages + 2), dtype=_NODE), np.zeros((count, pages + 2), dtype=_LISTS)
    nodes["users"][:, ROOT] = 1
    status = np.zeros((count, 1), dtype=_STATUS)
    status["used"] = 1
    return Tree(nodes, new_slots(pages + 1, (count,)), lists, status)


@inner_njit
def match(tree: Tree, requests: Requests, size: int, request: int, pages: int) -> tuple[int, int]:
    """The node that ends with the last of a request's first `pages` pages that the tree holds, and how many it holds.

    All nodes on the way are touched; one that matches in part is split.
    """
    nodes, now = tree.nodes, tree.status[0]
    now.clock += 2
    node, at = ROOT, 0
    while at < pages:
        child = tree.slots[slot_of(tree.slots, block_name(requests, size, request, at))].value
        if child == NONE:
            break
        nodes[child].touched = now.clock - 1
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
    tree.status[0].idle += pages - found
    _rank(tree, leaf)
    return leaf, found


@inner_njit
def touch(tree: Tree, node: int) -> None:
    """A node and all above it were looked at."""
    now = tree.status[0]
    now.clock += 2
    while node != ROOT:
        tree.nodes[node].touched = now.clock
        node = tree.nodes[node].parent


@inner_njit
def hold(tree: Tree, node: int) -> None:
    """One more user of a node and all above it."""
    nodes = tree.nodes
    while node != ROOT:
        if nodes[node].users == 0:
            tree.status[0].idle -= nodes[node].end - nodes[node].first
        nodes[node].users += 1
        node = nodes[node].parent


@inner_njit
def let_go(tree: Tree, node: int) -> None:
    """One user less of a node and all above it."""
    nodes = tree.nodes
    while node != ROOT:
        nodes[node].users -= 1
        if nodes[node].users == 0:
            tree.status[0].idle += nodes[node].end - nodes[node].first
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
    while pages * size < tokens and tree.status[0].ranked > 0:
        touched, node = _pop(tree)
        if nodes[node].users > 0 or nodes[node].children > 0:
            continue
        if nodes[node].touched > touched:
            _rank(tree, node)
            continue
        held = nodes[node].end - nodes[node].first
        pages += held
        tree.status[0].idle -= held
        name = block_name(requests, size, nodes[node].owner, nodes[node].first)
        vacate(tree.slots, slot_of(tree.slots, name))
        parent = nodes[node].parent
        tree.lists[tree.status[0].spare].spare = node
        tree.status[0].spare += 1
        nodes[parent].children -= 1
        _rank(tree, parent)
    return pages


@inner_njit
def _new_node(tree: Tree, parent: int, owner: int, first: int, end: int) -> int:
    now = tree.status[0]
    if now.spare > 0:
        now.spare -= 1
        node = tree.lists[now.spare].spare
    else:
        node = now.used
        now.used += 1
    made = tree.nodes[node]
    made.parent, made.owner, made.first, made.end = parent, owner, first, end
    made.children, made.users, made.touched = 0, 0, now.clock
    return int(node)


@inner_njit
def _name(tree: Tree, requests: Requests, size: int, node: int) -> None:
    """Let the name of a node's first page find it."""
    key = block_name(requests, size, tree.nodes[node].owner, tree.nodes[node].first)
    slot = slot_of(tree.slots, key)
    tree.slots[slot].key, tree.slots[slot].value = key, node


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
    own, heap, now = tree.nodes[node], tree.lists, tree.status[0]
    if own.users > 0 or own.children > 0 or own.is_ranked:
        return
    own.is_ranked = 1
    place = now.ranked
    now.ranked += 1
    while place > 0 and heap[(place - 1) >> 1].touched > own.touched:
        parent = (place - 1) >> 1
        heap[place].touched, heap[place].node = heap[parent].touched, heap[parent].node
        place = parent
    heap[place].touched, heap[place].node = own.touched, node


@inner_njit
def _pop(tree: Tree) -> tuple[int, int]:
    heap, now = tree.lists, tree.status[0]
    first, node = heap[0].touched, heap[0].node
    tree.nodes[node].is_ranked = 0
    now.ranked -= 1
    size = now.ranked
    touched, moved, place = heap[size].touched, heap[size].node, 0
    while 2 * place + 1 < size:
        child = 2 * place + 1
        if child + 1 < size and heap[child + 1].touched < heap[child].touched:
            child += 1
        if touched <= heap[child].touched:
            break
        heap[place].touched, heap[place].node = heap[child].touched, heap[child].node
        place = child
    heap[place].touched, heap[place].node = touched, moved
    return first, node
