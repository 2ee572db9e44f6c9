"""A scheduler's decisions alone, without times: scenarios of a file in, the same with their decisions out."""

from __future__ import annotations

import json
from pathlib import Path

from perfdb.errors import FileError


def decide(scenarios: Path, out: Path) -> int:
    """Write the scheduler's decisions on every scenario of a JSON-lines file; answers how many. No times are computed.

    Raises:
        FileError: a line cannot be read, or lacks a setting; nothing is written then.
    """
    from model.simulate.decisions import decisions

    lines = []
    try:
        texts = scenarios.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise FileError(f"{scenarios}: cannot be read ({error})") from error
    for number, text in enumerate(texts, 1):
        if not text.strip():
            continue
        try:
            lines.append(json.dumps(decisions(json.loads(text)), separators=(",", ":")))
        except json.JSONDecodeError as error:
            raise FileError(f"{scenarios}, line {number}: not JSON ({error.msg}); expected one scenario") from error
        except (KeyError, TypeError, AttributeError) as error:
            what = f"{error} is missing or of the wrong kind; expected an object with settings and requests"
            raise FileError(f"{scenarios}, line {number}: {what}") from error
    try:
        out.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    except OSError as error:
        raise FileError(f"{out}: cannot be written ({error.strerror}); expected a file in a folder there is") from error
    return len(lines)
