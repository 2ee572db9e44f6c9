"""SGLang's scheduling rules stated plainly, for one step after the other: lists, token ids and no haste."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from model.simulate.speculation import Drafts
from tests.support.sglang_batches import MicroBatch, MicroBatches
from tests.support.sglang_memory import Memory, OutOfMemoryError, Request
from tests.support.vllm_rules import accepted


@dataclass
class Room:
    """What is left to a prefill batch: `input` tokens of prompts, `chunk` of them in this step (None: no limit), and
    the tokens `taken` from the cache now and `promised` in the end. `plan`: (tokens to come, tokens held)."""

    input: int
    chunk: int | None
    taken: int
    promised: float
    plan: list[tuple[int, int]] | None = None
    batch: list[tuple[Request, int]] = field(default_factory=list)


class PlainServer(Memory, MicroBatches):
    """One server with the flags of SGLang; `step` decides and runs one step, of one micro-batch of `pp_size`."""

    def __init__(self, flags: Mapping[str, Any]) -> None:
        drafts = flags.get("speculative_num_steps", 0)
        super().__init__(flags["page_size"], flags["num_pages"], not flags["disable_radix_cache"], drafts)
        self.flags = flags
        self.chunk: int | None = flags["chunked_prefill_size"] if flags["chunked_prefill_size"] > 0 else None
        self.mixes: bool = flags["enable_mixed_chunk"] and self.chunk is not None and not drafts
        self.waiting: list[Request] = []
        self.batches = [MicroBatch() for _ in range(flags.get("pp_size", 1))]
        self.seqs = flags["max_running_requests"] // len(self.batches)
        self.first_ratio = min(0.7 * flags["schedule_conservativeness"], 1.0)
        self.least_ratio = min(self.first_ratio * 0.14, 1.0)
        self.ratio = self.first_ratio

    def arrive(self, request: Request) -> None:
        """A request waits behind all others; its answer ends where the context or the cache would."""
        longest = min(self.flags["context_length"], self.flags["num_pages"] * self.size)
        request.goal = min(request.goal, longest - 2 - request.prompt)
        self.waiting.append(request)

    def step(self) -> dict[str, Any]:
        """Decide and run a step, as `model.simulate.decisions` tells it."""
        told: dict[str, Any] = {"scheduled": [], "preempted": [], "admitted": [], "finished": []}
        if self.partial is not None:
            self.keep(self.partial)
        batch, decoding = self._prompts(told), list[Request]()
        if batch is None:
            decoding = self._decoding(told)
        elif self.mixes:
            decoding = [request for request in self.running if not request.is_done]
            self.grow(decoding)
        prompts = batch or []
        told["scheduled"] = [each for request, tokens in prompts for each in (request.number, tokens)]
        told["scheduled"] += [each for request in decoding for each in (request.number, 1 + self.drafts)]
        told["waiting"], told["free_blocks"], told["cached_blocks"] = len(self.waiting), self.free, self.tree.idle
        alive = [request for request in self.running if not request.is_done]
        told["running"] = len({*alive, *(request for request, _ in prompts)})
        is_sent = batch is not None or bool(decoding)
        part = next((request for request, _ in prompts if request is self.partial), None)
        self.batches[self.turn].sent = (batch, decoding, part) if is_sent else None
        self.idle = 0 if is_sent else self.idle + 1
        told["finished"] = [request.number for request in self._end_turn()]
        return told

    def _end_turn(self) -> list[Request]:
        """The next micro-batch has the turn when its step is done: answers who is."""
        self.turn = (self.turn + 1) % len(self.batches)
        if self.turn == 0 and self.idle >= len(self.batches):
            self.ratio = self.first_ratio
        sent, self.batches[self.turn].sent = self.batches[self.turn].sent, None
        return self._run(*sent) if sent else []

    def _prompts(self, told: dict[str, Any]) -> list[tuple[Request, int]] | None:
        if self.partial is None and (self.is_full or not self.waiting):
            return None
        if self.partial is not None and len(self.running) >= self.seqs:
            self.is_full = True
            return None
        self._order()
        room = self._room()
        if self.partial is not None:
            self._go_on(self.partial, room)
        while self.waiting:
            if len(room.batch) >= self.seqs - len(self.running):
                self.is_full = True
            if self.is_full or not self._let_in(room, told):
                break
        if not room.batch:
            return None
        self.allot(room.batch)
        return room.batch

    def _room(self) -> Room:
        with_decodes = len(self.running) if self.mixes else 0
        promised = 0.0
        for request in self.running:
            promised += min(request.goal - request.outputs, 4096) * self.ratio
        chunk = None if self.chunk is None else self.chunk - with_decodes
        return Room(self.flags["max_prefill_tokens"] - with_decodes, chunk, with_decodes, with_decodes + promised)

    def _let_in(self, room: Room, told: dict[str, Any]) -> bool:
        """The first who waits, if there is room; answers whether there may be more."""
        request, before = self.waiting[0], len(room.batch)
        answer = self._add(request, room)
        if len(room.batch) > before:
            self.waiting.pop(0)
            told["admitted"] += [request.number, request.computed]
        self.is_full = self.is_full or answer == "no room"
        return answer == "go on"

    def _order(self) -> None:
        """The policy; sorting leaves equals as they stood."""
        if self.flags["schedule_policy"] == "lof":
            self.waiting.sort(key=lambda request: -request.goal)
        if self.flags["schedule_policy"] != "lpm" or not self.caches or len(self.waiting) > 128:
            return
        keys: dict[Request, float] = {}
        beginnings: set[tuple[int, ...]] = set()
        for request in self.waiting:
            keys[request] = -self.tree.find(request.tokens)[1] * self.size
            if keys[request] >= -32 and len(request.tokens) >= 32:
                beginning = tuple(request.tokens[:32])
                keys[request] = float("inf") if beginning in beginnings else keys[request]
                beginnings.add(beginning)
        self.waiting.sort(key=lambda request: keys[request])

    def _left(self, room: Room) -> tuple[float, int]:
        """Tokens of the cache that are not promised, and not taken."""
        tokens = (self.free + self.tree.idle) * self.size
        return tokens - room.promised, tokens - room.taken

    def _take(self, request: Request, tokens: int, to_come: int, room: Room) -> str:
        pages = self.pages(tokens) * self.size
        room.batch.append((request, tokens))
        room.promised += pages + min(to_come, 4096)
        room.taken += pages
        room.input -= pages
        room.chunk = None if room.chunk is None else room.chunk - pages
        if min(self._left(room)) <= 0:
            return "no room"
        return "end" if room.input <= 0 or (room.chunk is not None and room.chunk <= 0) else "go on"

    def _go_on(self, request: Request, room: Room) -> None:
        """The next part of the prompt under way always has a place."""
        assert room.chunk is not None
        left, most = len(request.tokens) - request.computed, min(room.chunk, int(self._left(room)[0]))
        most = most if most > 0 else room.chunk
        self.partial = request if left > most else None
        self._take(request, min(left, most), 0 if self.partial else request.goal, room)

    def _add(self, request: Request, room: Room) -> str:
        if not self.caches:
            return self._add_uncached(request, room)
        node, known = self.tree.find(request.tokens[:-1])
        tokens = len(request.tokens) - known * self.size
        pages = self.pages(tokens) * self.size
        total = tokens + min(request.goal - request.outputs, 4096)
        if total >= self._left(room)[0]:
            return "no room"
        if pages >= room.input and room.batch:
            return "end"
        self.tree.hold(node)
        part = tokens if room.chunk is None or pages <= room.chunk else room.chunk // self.size * self.size
        answer = "no room" if total >= self._left(room)[0] else "end" if part <= 0 else "go on"
        if answer != "go on":
            self.tree.let_go(node)
            return answer
        request.node, request.kept, request.computed = node, known, known * self.size
        self.partial = self.partial if part == tokens else request
        return self._take(request, part, request.goal if part == tokens else 0, room)

    def _add_uncached(self, request: Request, room: Room) -> str:
        """All that is to come is known here: it must fit at each moment, what is done being free from then on."""
        tokens = len(request.tokens)
        pages = self.pages(tokens) * self.size
        if pages > min(self._left(room)):
            return "no room"
        state = (request.goal - request.outputs, tokens)
        if room.plan is None:
            others = [*(each for each in self.running if not each.is_done), *(each for each, _ in room.batch)]
            room.plan = [state, *((each.goal - each.outputs, len(each.tokens)) for each in others)]
            room.plan.sort(key=lambda pair: pair[0])
        else:
            later = [place for place, pair in enumerate(room.plan) if state[0] <= pair[0]]
            # one that is done last of all goes before the last
            room.plan.insert(later[0] if later else max(len(room.plan) - 1, 0), state)
        left = self._left(room)[1] - pages
        for place, (to_come, held) in enumerate(room.plan):
            others_left = len(room.plan) - place
            if left - to_come * others_left <= others_left:
                return "no room"
            left += held
        if room.chunk is None or tokens <= room.chunk:
            request.computed = 0
            return self._take(request, tokens, request.goal, room)
        if room.chunk <= 0:
            return "end"
        request.computed, self.partial = 0, request
        return self._take(request, room.chunk, 0, room)

    def _decoding(self, told: dict[str, Any]) -> list[Request]:
        if any(request.is_done for request in self.running):
            self.is_full = False
        self.running = [request for request in self.running if not request.is_done]
        if not self.running:
            return []
        if self.has_pages(self.running):
            decay = (self.first_ratio - self.least_ratio) / 600
            self.ratio = max(self.ratio - decay, self.least_ratio)
        else:
            told["preempted"] = self._retract()
        self.grow(self.running)
        return list(self.running)

    def _retract(self) -> list[int]:
        """The least outputs go first, of equals the longest prompts, of equals the last; with drafts the last."""
        if not self.drafts:
            self.running.sort(key=lambda request: (-request.outputs, request.prompt))
        gone: list[int] = []
        while len(self.running) > 1 and (not gone or not self.has_pages(self.running)):
            request = self.running.pop()
            self.give_back(request, is_done=False)
            request.computed = 0
            self.make_room(len(self.running) * 20)
            self.waiting.append(request)
            gone.append(request.number)
        if not self.has_pages(self.running):
            raise OutOfMemoryError
        outputs = sum(request.outputs for request in self.running)
        goals = sum(request.goal for request in self.running)
        self.ratio = min(1.0, (outputs + 20 * len(self.running)) / (goals + 1))
        self.is_full = False
        return gone

    def _right(self, request: Request) -> int:
        """How many of its drafted tokens are right; the others are given up."""
        drawn = Drafts(self.drafts, self.flags["acceptance_rate"], 0, 0.0)
        right: int = min(
            accepted(drawn, request.number, request.outputs, self.drafts), request.goal - request.outputs - 1
        )
        self.give_up(request, self.drafts - right)
        return right

    def _run(
        self, batch: list[tuple[Request, int]] | None, decoding: list[Request], part: Request | None
    ) -> list[Request]:
        """Tokens for all whose prompts are whole; answers who is done."""
        started = [request for request, _ in batch or [] if request is not part]
        done: list[Request] = []
        for request in [*started, *decoding]:
            right = self._right(request) if self.drafts and request in decoding else 0
            request.tokens += request.script[request.outputs : request.outputs + 1 + right]
            if request.is_done:
                self.give_back(request, is_done=True)
                done.append(request)
            elif request in started:
                self.keep(request)
        if batch is None:
            return done
        going = [request for request in started if not request.is_done]
        if self.mixes:
            self.running = [*going, *(request for request in decoding if not request.is_done)]
            self.is_full = False
            return done
        if len(going) < len(batch) or not self.running:
            self.is_full = False
        self.running += going
        return done
