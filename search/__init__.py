"""What to try next: spaces, objectives, frontiers, acquisition and strategies. Pure: no clock, no I/O."""
