"""As torch.nn.attention is a package."""
