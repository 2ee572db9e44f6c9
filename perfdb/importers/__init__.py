"""One format, one file: each importer reads a real benchmark file into columns."""
