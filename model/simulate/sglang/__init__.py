"""SGLang's scheduler: its radix cache, what it decides step by step, and the clock that runs it."""
