"""`failover probe`: has every target of an uplink probed, and waits for what comes of it.

The agent's document has no times of single outcomes; that one is new shows in that a target's view has changed.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from failover.cli.asking import ask
from failover.cli.screen import Screen, print_json, print_lines
from failover.cli.views import only, probe_lines
from failover.export.client import call, socket_path
from failover.export.words import cleaned

WAIT: Final = 5.0
"""Seconds for the answers; later ones come too late for traffic as well."""
LOOK: Final = 0.1
"""Seconds between two looks."""
ANSWERS: Final = ("answered", "late")
NOTHING: Final = "nothing"
"""What came of a target whose last answer is an old one: its probe is not out yet, or the agent has not sent it."""

Targets = Mapping[tuple[str, str], Mapping[str, Any]]
"""The view of each target, by family and URL."""


def probe(arguments: argparse.Namespace) -> int:
    """Ask for it, wait until every target has answered, but no longer than WAIT, and say what came of each."""
    path, name = socket_path(arguments.socket), arguments.name
    before = _targets(call(path, "status", {})["status"], name)
    ask(arguments)
    told = _wait(lambda: _targets(call(path, "status", {})["status"], name), before)
    if arguments.json:
        print_json({"uplink": name, "targets": told})
    else:
        print_lines(probe_lines(cleaned(told), Screen.of(sys.stdout)))
    return 0


def _wait(look: Callable[[], Targets], before: Targets) -> list[dict[str, Any]]:
    end = time.monotonic() + WAIT
    while True:
        told = [_told(family, url, before.get((family, url)), now) for (family, url), now in look().items()]
        if all(one["outcome"] in ANSWERS for one in told) or time.monotonic() >= end:
            return told
        time.sleep(LOOK)


def _told(family: str, url: str, before: Mapping[str, Any] | None, now: Mapping[str, Any]) -> dict[str, Any]:
    outcome, fresh = now["last_outcome"], before is None or dict(before) != dict(now)
    if outcome in ANSWERS and not fresh:
        outcome = NOTHING
    rtt = now["rtt_seconds"] if outcome in ANSWERS else None
    return {"family": family, "url": url, "outcome": outcome or NOTHING, "rtt_seconds": rtt}


def _targets(status: dict[str, Any], name: str) -> Targets:
    """Of every family in which the uplink has a way out."""
    views = only(status, name)["uplinks"][0]["families"].items()
    return {
        (family, target["url"]): target
        for family, view in views
        if view["verdict"] != "absent"
        for target in view["targets"]
    }
