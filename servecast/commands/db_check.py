"""`servecast db check`: what is doubtful in the database."""

from __future__ import annotations

from servecast.options import DEFAULT_DB, Db, Json, Wait, open_existing


def check(db: Db = DEFAULT_DB, wait: Wait = 30.0, json: Json = False) -> None:
    """Report copies, conflicts, outliers, contradictions, missing facts and more; nothing is changed."""
    from servecast.output import emit_json
    from servecast.quality_text import say_findings

    findings = open_existing(db, wait).check()
    if json:
        emit_json({"database": str(db), "findings": [finding.to_json() for finding in findings]})
    else:
        say_findings(findings)
