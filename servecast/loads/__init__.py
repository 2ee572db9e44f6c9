"""What users send: workload files, mixes of lengths, and what a log tells of them."""
