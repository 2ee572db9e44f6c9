"""Facts that are looked up, never measured here: platforms, model architectures, engines. Each has its source."""
