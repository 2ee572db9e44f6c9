"""Measured operation tables: what one kernel takes, exact where it was measured and honest where it was not."""
