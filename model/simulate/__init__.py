"""A serving engine step by step: blocks of the KV cache, the scheduler's decisions, and the clock that runs them."""
