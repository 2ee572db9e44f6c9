"""One step of a server: which kernels a model calls in it, and what they take together."""
