"""`failover probe`: has every target of an uplink probed, and waits for what comes of it.

The agent's document has no times of single outcomes; that one is new shows in that a target's view has changed.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
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
ANSWERS: Final = ("answered", "late", "clock")
NOTHING: Final = "nothing"
"""What came of a target whose last answer is an old one: none yet, or the agent has not asked it."""

Targets = Mapping[tuple[str, str], Mapping[str, Any]]
"""The view of each target, by family and URL."""


def probe(arguments: argparse.Namespace) -> int:
    """Ask for it, wait until every target has answered, but no longer than WAIT, and say what came of each; 1 when none
    has answered."""
    path, name = socket_path(arguments.socket), arguments.name
    before = _targets(_uplink(path, name))
    ask(arguments)
    told = _wait(lambda: _targets(_uplink(path, name)), before)
    if arguments.json:
        print_json({"uplink": name, "targets": told})
    elif told:
        print_lines(probe_lines(cleaned(told), Screen.of(sys.stdout)))
    else:
        print_lines(iter([f"no target was probed: {_why_none(cleaned(_uplink(path, name)))}"]))
    return int(not any(one["outcome"] in ANSWERS for one in told))


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


def _uplink(path: Path, name: str) -> Mapping[str, Any]:
    """As the agent has it now; ControlError if there is no such one."""
    found: Mapping[str, Any] = only(call(path, "status", {})["status"], name)["uplinks"][0]
    return found


def _targets(uplink: Mapping[str, Any]) -> Targets:
    """Of every family in which the uplink has a way out."""
    return {
        (family, target["url"]): target
        for family, view in uplink["families"].items()
        if view["verdict"] != "absent"
        for target in view["targets"]
    }


def _why_none(uplink: Mapping[str, Any]) -> str:
    """What each family lacks."""
    lacks = {
        family: view["text"] if view["verdict"] == "absent" else "no target is configured"
        for family, view in uplink["families"].items()
    }
    return "; ".join(f"{family}: {text}" for family, text in lacks.items())
