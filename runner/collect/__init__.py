"""Measuring the kernels of this machine: shapes worth timing, a worker that times them, and a table of the times."""
