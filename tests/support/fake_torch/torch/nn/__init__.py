"""As torch.nn is a package."""
