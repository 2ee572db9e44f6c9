"""What a tuning has found, as one JSON document and as one self-contained page."""
