"""Making it happen: engines, executors and load clients."""
