"""`db check`: everything that is doubtful in a database."""

from __future__ import annotations

import numpy as np

from perfdb.quality import Finding, Severity
from perfdb.store.checks import files, groups, numbers, operations
from perfdb.store.checks.points import Points
from perfdb.store.connect import Database

_OF_POINTS = (numbers.contradicting, numbers.conflicting, numbers.off_trend, numbers.replicated)
_OF_TABLES = (
    groups.mixed_statistics,
    groups.mixed_protocols,
    files.duplicates,
    files.unknown_facts,
    files.failures,
    files.quarantined,
    operations.doubtful,
)


def check(database: Database) -> list[Finding]:
    """All findings, the grave ones first; see `Store.check`."""
    with database.reading() as connection, np.errstate(all="ignore"):
        points = Points.of(connection)
        found = [finding for search in _OF_POINTS if len(points.ids) for finding in search(points)]
        found += [finding for search in _OF_TABLES for finding in search(connection)]
    grave = list(Severity)
    return sorted(found, key=lambda finding: grave.index(finding.severity))
