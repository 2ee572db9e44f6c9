"""The DuckDB performance database: the only package that opens DuckDB."""

from perfdb.store.query import Table
from perfdb.store.scan import Scan, scan
from perfdb.store.store import Store
from perfdb.store.text import TextTable, scan_text

__all__ = ["Scan", "Store", "Table", "TextTable", "scan", "scan_text"]
