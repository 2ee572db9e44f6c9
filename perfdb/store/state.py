"""A database in the state that it is in, as a key of what is worked out from it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from perfdb.store.unchanged import Identity

if TYPE_CHECKING:
    from perfdb.store.store import Store


@dataclass(frozen=True)
class State:
    """Equal to every other of the same file while that is unchanged, whichever `store` reads it."""

    identity: Identity
    store: Store = field(compare=False, repr=False)
