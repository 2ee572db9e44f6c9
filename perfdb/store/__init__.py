"""The DuckDB performance database: the only package that opens DuckDB."""

from perfdb.store.query import Table
from perfdb.store.scan import Scan, scan
from perfdb.store.state import State
from perfdb.store.store import Store
from perfdb.store.text import TextTable, scan_text

__all__ = ["Scan", "State", "Store", "Table", "TextTable", "scan", "scan_text"]
