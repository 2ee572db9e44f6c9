"""Serving metrics in steady state without simulating it: queues, turnovers, full caches, pipelines and joint steps."""
