"""What is known: records, the DuckDB store, importers, platform and model facts."""
