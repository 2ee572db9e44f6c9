"""Questions to the model: what configs nobody ran would do, what load they bear, how far off the answers are."""
