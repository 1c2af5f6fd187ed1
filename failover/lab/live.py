"""The demo on a terminal: the story scrolls above a picture that is drawn anew five times a second.

What lives here: the thread that asks the agent for its status, takes the strips and draws. It measures nothing, and
what is measured does not wait for it. What the picture looks like is in screen.py.
"""

from __future__ import annotations

import os
import textwrap
import threading
import time
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from types import TracebackType
from typing import Any, Final, TextIO

from rich.console import Console
from rich.live import Live
from rich.text import Text

from failover.lab.screen import SPARKS, STRIP_MARGIN, Scene, picture
from failover.lab.stage import Status
from failover.lab.strip import ROWS, Strip
from failover.model import RECEIVING

FRAME: Final = 0.2
"""Seconds between two frames; the agent is asked as often."""
COLUMNS_LEAST: Final = 72
CELLS_SHOWN: Final = 100
STYLES: Final = {"play": "bold yellow", "FAIL": "bold red"}


def is_watchable(stream: TextIO) -> bool:
    """Whether a picture can be drawn there: a terminal that can move its cursor, and nobody who wants it plain."""
    if not stream.isatty() or os.environ.get("NO_COLOR") or os.environ.get("TERM", "dumb") == "dumb":
        return False
    return Console(file=stream).width >= COLUMNS_LEAST


class Screen:
    """Draws while entered. `say` adds a line to the story; `opens` and `attends` tell what is on the stage."""

    def __init__(self, stream: TextIO) -> None:
        self._console = Console(file=stream, markup=False, highlight=False, emoji=False)
        self._live = Live(console=self._console, auto_refresh=False, transient=True)
        self._scene = Scene()
        """What the main thread knows; the drawing one adds the rest."""
        self._started = self._began = time.monotonic()
        self._status: Status = dict
        """Of nobody, until there is an agent."""
        self._strip = Strip()
        self._rtts: dict[str, deque[float | None]] = {}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="screen", daemon=True)
        self.drawing_seconds = 0.0
        """CPU time of the drawing thread, once it has ended."""

    def __enter__(self) -> Screen:
        self._live.start()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()
        self._live.stop()

    # --- what the demo tells -----------------------------------------------------------------------------------------

    def say(self, who: str, text: str) -> None:
        """One line of the story."""
        if who == "play":
            self._scene = replace(self._scene, playing=text)
        at = f"{time.monotonic() - self._started:7.2f} s  "
        self._console.print(
            Text.assemble((at, "dim"), (self._folded(f"{who:5}  ", text, len(at)), STYLES.get(who, "")))
        )

    def _folded(self, head: str, text: str, margin: int) -> str:
        """Broken between words, each further line below the text of the first."""
        indent = " " * (margin + len(head))
        lines = textwrap.wrap(text, self._console.width - len(indent), break_on_hyphens=False)
        return head + f"\n{indent}".join(lines)

    def opens(self, number: int, acts: int, name: str, title: str) -> None:
        """Act `number` of so many begins."""
        self._status, self._strip, self._rtts = dict, Strip(), {}
        self._began = time.monotonic()
        self._scene = Scene(name, title, number, acts)

    def attends(self, status: Status) -> None:
        """The agent to be asked."""
        self._status = status

    def packet(self, now: float, interface: str, packet: bytes) -> None:
        """An IP packet on the van's wires."""
        self._strip.packet(now, interface, packet)

    # --- the drawing thread ------------------------------------------------------------------------------------------

    def _run(self) -> None:
        with suppress(OSError):  # the terminal is gone: whoever writes to it next hears of it
            while not self._over.wait(FRAME):
                if self._scene.act:
                    self._live.update(picture(self._look()), refresh=True)
        self.drawing_seconds = time.thread_time()

    def _look(self) -> Scene:
        """The scene of this moment."""
        status = self._status()
        for uplink in status.get("uplinks", ()):
            self._rtts.setdefault(uplink["name"], deque(maxlen=SPARKS)).append(_rtt(uplink))
        now = time.monotonic()
        count = min(CELLS_SHOWN, self._console.width - STRIP_MARGIN)
        return replace(
            self._scene,
            seconds=now - self._began,
            status=status,
            rtts={name: tuple(samples) for name, samples in self._rtts.items()},
            strips={row: self._strip.last(now, row, count) for row in ROWS},
        )


def _rtt(uplink: Mapping[str, Any]) -> float | None:
    """Of the first family that is served."""
    served = (view for view in uplink["families"].values() if view["verdict"] in RECEIVING)
    found: float | None = next((view["rtt_seconds"] for view in served), None)
    return found
