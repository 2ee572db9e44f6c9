"""What requests hold of an SGLang server's KV cache, stated plainly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tests.support.sglang_radix import Node, PlainTree


class OutOfMemoryError(Exception):
    """SGLang ends here."""


@dataclass(eq=False)
class Request:
    """A request: `tokens` are its prompt and its answers so far, of which `computed` are in the cache; the tree has
    the first `kept` pages of these."""

    number: int
    prompt: int
    goal: int
    tokens: list[int]
    script: list[int]
    computed: int = 0
    kept: int = 0
    node: Node | None = None

    @property
    def outputs(self) -> int:
        """Tokens generated."""
        return len(self.tokens) - self.prompt

    @property
    def is_done(self) -> bool:
        """Whether all were."""
        return self.outputs >= self.goal


class Memory:
    """So many pages of `size` tokens, of which `free` hold nothing; the tree's others can be evicted."""

    def __init__(self, size: int, pages: int, caches: bool, drafts: int = 0) -> None:
        self.size, self.free, self.caches, self.drafts = size, pages, caches, drafts
        self.tree = PlainTree(size)

    def pages(self, tokens: int) -> int:
        """Pages that so many tokens take."""
        return -(-tokens // self.size)

    def make_room(self, tokens: int) -> None:
        """Evict where fewer tokens than these are free."""
        if self.free * self.size < tokens:
            self.free += self.tree.evict(tokens)

    def allot(self, batch: list[tuple[Request, int]]) -> None:
        """Pages for a prefill batch."""
        tokens = sum(tokens for _, tokens in batch)
        self.make_room(tokens + (len(batch) * self.size if self.size > 1 else 0))
        for request, more in batch:
            self.free -= self.pages(request.computed + more) - self.pages(request.computed)
            request.computed += more
        if self.free < 0:
            raise OutOfMemoryError

    def grow(self, decoding: list[Request]) -> None:
        """A token more for all who decode, and those drafted after it."""
        tokens, partly = 1 + self.drafts, self.size if self.size > 1 else 0
        self.make_room(len(decoding) * (tokens + partly if self.drafts else self.size))
        for request in decoding:
            self.free -= self.pages(request.computed + tokens) - self.pages(request.computed)
            request.computed += tokens
        if self.free < 0:
            raise OutOfMemoryError

    def give_up(self, request: Request, tokens: int) -> None:
        """The last tokens computed were drafted in vain."""
        self.free += self.pages(request.computed) - self.pages(request.computed - tokens)
        request.computed -= tokens

    def keep(self, request: Request) -> None:
        """The tree gets the whole pages; those that it had already are free."""
        if not self.caches:
            return
        tokens = request.tokens[: request.computed]
        _, known = self.tree.insert(tokens)
        self.free += known - request.kept
        node, kept = self.tree.find(tokens)
        assert request.node is not None
        self.tree.let_go(request.node)
        self.tree.hold(node)
        request.node, request.kept = node, kept

    def give_back(self, request: Request, is_done: bool) -> None:
        """A request gives up its pages; the tree gets those of one that is done."""
        self.free += self.pages(request.computed) - request.kept
        if self.caches:
            if is_done:
                _, known = self.tree.insert(request.tokens[: request.computed])
                self.free -= request.computed // self.size - known
            assert request.node is not None
            self.tree.let_go(request.node)
        request.kept = 0

    def has_pages(self, decoding: Sequence[Request]) -> bool:
        """Whether all who decode can once more."""
        need = sum(request.computed % self.size == 0 for request in decoding)
        if self.drafts:
            need = len(decoding) * self.pages(1 + self.drafts)
        self.make_room(need * self.size)
        return self.free >= need
