"""The DuckDB performance database: the only package that opens DuckDB."""
