"""A lpac to put in PATH: its card is the file `profiles` beside it, what it was asked for is in `asked`.

The file `manner` says how it behaves: `well`, or `hang`, `flood`, `garbage`, `refuse`. With FIFOs `enabled` and `done`
beside it, it writes the ICCID into the one and waits for the other, so that a test can change the modem's SIM.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PROGRAM = (
    f"#!{sys.executable} -I\n"
    + """
import json, os, signal, sys
from pathlib import Path
here = Path(sys.argv[0]).parent

def answer(code, message, data):
    print(json.dumps({"type": "lpa", "payload": {"code": code, "message": message, "data": data}}), flush=True)
    sys.exit(0 if code == 0 else 255)

with (here / "asked").open("a") as asked:
    asked.write(json.dumps([sys.argv[1:], dict(os.environ)]) + "\\n")
match (here / "manner").read_text():
    case "hang":
        if os.fork() == 0:  # and a child that has its pipes
            signal.pause()
        (here / "hanging").write_text(str(os.getpid()))
        signal.pause()
    case "flood":
        while True:
            sys.stdout.write("x" * 65536)
    case "garbage":
        print("[1]\\n{]\\nnull\\n" + '{"type": "lpa", "payload": 1}')
        sys.stderr.write("first\\nit \\x1b[31mbroke\\n")
        sys.exit(1)
    case "refuse":
        answer(-1, "euicc_init", "")
profiles = json.loads((here / "profiles").read_text())
print(json.dumps({"type": "progress", "payload": {"code": 0, "message": "es10c", "data": None}}))
if sys.argv[1:3] == ["profile", "list"]:
    answer(0, "success", profiles)
iccid = sys.argv[3]
for one in profiles:
    one["profileState"] = "enabled" if one["iccid"] == iccid else "disabled"
(here / "profiles").write_text(json.dumps(profiles))
if (here / "enabled").exists():
    (here / "enabled").write_text(iccid)
    (here / "done").read_text()
answer(0, "success", None)
"""
)


@dataclass(frozen=True, slots=True)
class Lpac:
    """One in a folder of its own."""

    folder: Path

    def __post_init__(self) -> None:
        (self.folder / "lpac").write_text(PROGRAM)
        (self.folder / "lpac").chmod(0o755)
        self.behave("well")
        self.hold()

    def behave(self, manner: str) -> None:
        (self.folder / "manner").write_text(manner)

    def hold(self, *iccids: str) -> None:
        """These profiles; the first is in use."""
        profiles: Sequence[Mapping[str, object]] = [
            {
                "iccid": iccid,
                "profileState": "disabled" if number else "enabled",
                "profileNickname": None,
                "serviceProviderName": f"Carrier {number}",
                "profileName": f"profile {number}\u202e",
                "icon": "A" * 4000,
            }
            for number, iccid in enumerate(iccids)
        ]
        (self.folder / "profiles").write_text(json.dumps(profiles))

    @property
    def asked(self) -> list[tuple[list[str], dict[str, str]]]:
        """Words and environment, each time."""
        path = self.folder / "asked"
        lines: list[Any] = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
        return [(words, environment) for words, environment in lines]

    @property
    def environment(self) -> dict[str, str]:
        """Of who is to find it."""
        return {**os.environ, "PATH": f"{self.folder}:{os.environ['PATH']}"}

    def pause(self) -> None:
        """From now on it waits in the middle of a switch."""
        for name in ("enabled", "done"):
            os.mkfifo(self.folder / name)

    def switched(self) -> str:
        """Waits until it switches; to which."""
        return (self.folder / "enabled").read_text()

    def go_on(self) -> None:
        (self.folder / "done").write_text("done")
