"""The demo's picture: a scene -> something that rich draws. Pure: no clock, no socket, no terminal.

What a scene is taken from, and when it is drawn, is in live.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from failover.lab.places import CARRIERS
from failover.lab.strip import GUESTS, ROWS, STREAM, Shown, State
from failover.model import FAMILIES, Family

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table
    from rich.text import Text

BARS: Final = "▁▂▃▄▅▆▇█"
RTT_FULL: Final = 0.2
"""Seconds of round trip that fill a bar."""
SPARKS: Final = 24
"""Samples of a sparkline."""
STRIP_MARGIN: Final = 16
"""Columns of a strip's line that are not the strip."""
LABELS: Final = {
    Family.IPV4: "new flows ipv4",
    Family.IPV6: "          ipv6",
    STREAM: "MPTCP stream",
    GUESTS: "LAN, new flows",
}
VERDICT_STYLES: Final = {"up": "green", "degraded": "yellow", "doubtful": "yellow", "portal": "red", "down": "red"}
CARRIER_STYLES: Final = dict(zip((carrier.interface for carrier in CARRIERS), ("cyan", "magenta", "blue"), strict=True))
CELLS: Final = {State.NONE: " ", State.SERVED: "█", State.PARTLY: "▒", State.LOST: "×"}


@dataclass(frozen=True, slots=True)
class Scene:
    """One moment of the demo."""

    act: str = ""
    title: str = ""
    number: int = 0
    """Of the act, from 1."""
    acts: int = 0
    playing: str = ""
    """What was done last."""
    seconds: float = 0.0
    """Since the act began."""
    status: Mapping[str, Any] = field(default_factory=dict)
    """The agent's status document; empty while it does not answer."""
    rtts: Mapping[str, Sequence[float | None]] = field(default_factory=dict)
    """By uplink, oldest first, in seconds; None where none was known."""
    strips: Mapping[str, Sequence[Shown]] = field(default_factory=dict)
    """The user's traffic by row, oldest first."""


def picture(scene: Scene) -> RenderableType:
    """Heading, one line per uplink, one strip per row of traffic, and what the strips mean."""
    from rich.console import Group
    from rich.text import Text

    heading = Text.assemble(
        (f" act {scene.number} of {scene.acts} ", "reverse"),
        f" {progress(scene)} ",
        (scene.act, "bold"),
        f": {scene.title}",
    )
    playing = Text.assemble((f"{scene.seconds:6.1f} s  ", "dim"), (scene.playing, "bold yellow"))
    strips = [_strip(scene, row) for row in ROWS]
    parts: list[Text | Table] = [Text(""), heading, playing, _uplinks(scene), *strips, _legend()]
    for part in parts:
        if isinstance(part, Text):
            part.no_wrap, part.overflow = True, "ellipsis"
    return Group(*parts)


def progress(scene: Scene) -> str:
    """Acts that are over, the one that is on, those to come."""
    return "●" * (scene.number - 1) + "◐" + "○" * (scene.acts - scene.number)


def _uplinks(scene: Scene) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name, width in (
        ("", 1),
        ("uplink", 6),
        ("", 5),
        *((family.value, 10) for family in FAMILIES),
        ("round trip", 32),
    ):
        table.add_column(Text(name, "dim"), no_wrap=True, min_width=width)
    listed = {uplink["name"]: uplink for uplink in scene.status.get("uplinks", ())}
    active = scene.status.get("active", {})
    for carrier in CARRIERS:
        uplink = listed.get(carrier.name)
        carries = carrier.name in active.values()
        table.add_row(
            Text("➤" if carries else "", "bold green"),
            Text(carrier.name, f"{CARRIER_STYLES[carrier.interface]}{' bold' if carries else ''}"),
            Text(carrier.interface, "dim"),
            *(_verdict(uplink, family, active.get(family.value) == carrier.name) for family in FAMILIES),
            spark(scene.rtts.get(carrier.name, ())),
        )
    return table


def _verdict(uplink: Mapping[str, Any] | None, family: Family, active: bool) -> Text:
    from rich.text import Text

    if uplink is None:
        return Text("no agent", "dim")
    verdict = uplink["families"][family.value]["verdict"]
    return Text(f"{verdict}{' *' if active else ''}", VERDICT_STYLES.get(verdict, "dim"))


def spark(rtts: Sequence[float | None]) -> Text:
    """A bar for each sample, full at RTT_FULL; a dot where there is none; and the newest in milliseconds."""
    from rich.text import Text

    drawn = [*([None] * SPARKS), *rtts][-SPARKS:]
    bars = "".join("·" if rtt is None else BARS[min(len(BARS) - 1, int(rtt / RTT_FULL * len(BARS)))] for rtt in drawn)
    newest = rtts[-1] if rtts else None
    return Text.assemble(bars, ("" if newest is None else f" {newest * 1000:4.0f} ms", "dim"))


def _strip(scene: Scene, row: str) -> Text:
    from rich.text import Text

    line = Text(f"{LABELS[row]:{STRIP_MARGIN}}")
    for cell in scene.strips.get(row, ()):
        style = "bold red" if cell.state is State.LOST else CARRIER_STYLES.get(cell.interface, "")
        line.append(CELLS[cell.state], style)
    return line


def _legend() -> Text:
    from rich.text import Text

    ways = [(f"{CELLS[State.SERVED]} by {carrier.name}  ", CARRIER_STYLES[carrier.interface]) for carrier in CARRIERS]
    partly, lost = (f"{CELLS[State.PARTLY]} some lost  ", "dim"), (f"{CELLS[State.LOST]} lost", "bold red")
    return Text.assemble(" " * STRIP_MARGIN, *ways, partly, lost)
