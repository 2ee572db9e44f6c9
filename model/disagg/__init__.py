"""Prefill and decode on devices of their own: two pools, what each takes, and what they serve together."""
