"""What a model is made of, from its config.json, its GGUF file or a known name."""
