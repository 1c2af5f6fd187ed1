"""The decision logs that the shipped scenarios give with seed 1 and the defaults, as files.

`python -m tests.sim.golden_logs [NAME ...]` writes them anew, after a change of behaviour that was meant. A long log
keeps every line but those on verdicts and silences; those are counted and hashed at its end.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Final

from failover.config import Config
from failover.sim.scenario import find_script, shipped
from failover.sim.stage import Played, play_script

FOLDER: Final = Path(__file__).parent / "golden"
SEED: Final = 1
LONG: Final = 400
"""Lines."""
FREQUENT: Final = ("verdict", "uplink", "flows")
"""Kinds of lines that are counted in a long log."""
DRIVE_SECONDS: Final = 3600.0
"""Of the drive one hour: its figures are held by test_figures."""


def play(name: str) -> Played:
    script = find_script(name)
    if name == "drive":
        script = replace(script, length=DRIVE_SECONDS)
    return play_script(script, Config(), None, SEED)


def condensed(lines: Sequence[str]) -> list[str]:
    """The log as its file holds it."""
    if len(lines) <= LONG:
        return list(lines)
    frequent = [line for line in lines if line.split(None, 2)[1] in FREQUENT]
    rest = [line for line in lines if line.split(None, 2)[1] not in FREQUENT]
    digest = sha256("\n".join(frequent).encode()).hexdigest()[:16]
    return [*rest, f"{len(frequent)} verdicts and silences, sha256 {digest}"]


def path_of(name: str) -> Path:
    return FOLDER / f"{name}.txt"


def main(names: Sequence[str]) -> None:
    for name in names or shipped():
        path_of(name).write_text("\n".join(condensed(play(name).journal.lines)) + "\n", encoding="utf-8")
        print(path_of(name).name)


if __name__ == "__main__":
    main(sys.argv[1:])
