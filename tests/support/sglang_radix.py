"""SGLang's prefix cache stated plainly: nodes with their tokens, and the least recently used leaf found by looking."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count

Page = tuple[int, ...]


@dataclass(eq=False)
class Node:
    """Pages that follow those of `parent`; `users` hold it, `touched` says when it was last looked at."""

    parent: Node | None
    pages: list[Page]
    touched: int = 0
    users: int = 0
    children: dict[Page, Node] = field(default_factory=dict)

    def upwards(self) -> Iterator[Node]:
        """This node and all above it, but for the root."""
        node = self
        while node.parent is not None:
            yield node
            node = node.parent

    def downwards(self) -> Iterator[Node]:
        """All below this node."""
        for child in self.children.values():
            yield child
            yield from child.downwards()


class PlainTree:
    """A tree of pages of `size` tokens."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.root = Node(None, [])
        self.clock = count(1)

    def find(self, tokens: Sequence[int]) -> tuple[Node, int]:
        """The node at which the longest known prefix ends, and its whole pages. A node known in part is divided."""
        pages = self._pages(tokens)
        node, known, now = self.root, 0, next(self.clock)
        while known < len(pages) and pages[known] in node.children:
            child = node.children[pages[known]]
            child.touched = now
            same = 0
            while same < len(child.pages) and pages[known + same : known + same + 1] == [child.pages[same]]:
                same += 1
            known += same
            if same < len(child.pages):
                return self._divided(child, same), known
            node = child
        return node, known

    def insert(self, tokens: Sequence[int]) -> tuple[Node, int]:
        """Know all whole pages of these tokens: the node at which they end, and how many were known before."""
        node, known = self.find(tokens)
        pages = self._pages(tokens)[known:]
        if pages:
            node.children[pages[0]] = Node(node, pages, next(self.clock))
            node = node.children[pages[0]]
        return node, known

    def hold(self, node: Node) -> None:
        """One user more, up to the root."""
        for each in node.upwards():
            each.users += 1

    def let_go(self, node: Node) -> None:
        """One user less, up to the root."""
        for each in node.upwards():
            each.users -= 1

    @property
    def idle(self) -> int:
        """Pages that nobody holds."""
        return sum(len(node.pages) for node in self.root.downwards() if node.users == 0)

    @property
    def size_in_pages(self) -> int:
        """Pages of all nodes."""
        return sum(len(node.pages) for node in self.root.downwards())

    def evict(self, tokens: int) -> int:
        """Forget whole leaves that nobody holds, the one untouched for longest first; answers their pages."""
        pages = 0
        while pages * self.size < tokens:
            leaves = [node for node in self.root.downwards() if not node.children and node.users == 0]
            if not leaves:
                break
            oldest = min(leaves, key=lambda node: node.touched)
            assert oldest.parent is not None
            del oldest.parent.children[oldest.pages[0]]
            pages += len(oldest.pages)
        return pages

    def _pages(self, tokens: Sequence[int]) -> list[Page]:
        return [tuple(tokens[at : at + self.size]) for at in range(0, len(tokens) - self.size + 1, self.size)]

    def _divided(self, node: Node, at: int) -> Node:
        assert node.parent is not None
        upper = Node(node.parent, node.pages[:at], next(self.clock), node.users)
        node.parent.children[node.pages[0]] = upper
        node.parent, node.pages = upper, node.pages[at:]
        upper.children[node.pages[0]] = node
        return upper
