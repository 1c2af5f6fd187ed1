"""`failover doctor` as the command line calls it: examine, print, exit status."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

from failover.doctor.examination import examine
from failover.doctor.finding import Finding, Level, document, lines


def run(config: Path | None, socket: Path, state: Path, *, as_json: bool) -> int:
    """Print what is found to standard output; 1 when anything would break failover, else 0."""
    failed = False

    def noted() -> Iterator[Finding]:
        nonlocal failed
        for finding in examine(config, socket, state):
            failed = failed or finding.level is Level.FAILURE
            yield finding

    if as_json:
        sys.stdout.write(json.dumps(document(noted()), indent=2, ensure_ascii=False) + "\n")
    else:
        for line in lines(noted()):
            sys.stdout.write(line + "\n")
            sys.stdout.flush()  # the probes take seconds
    return int(failed)
