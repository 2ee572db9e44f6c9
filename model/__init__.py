"""What would happen: operations, step time, memory, serving metrics, learned residuals and intervals."""
