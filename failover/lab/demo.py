"""`failover demo`: plays acts in the lab and shows what the agent made of them.

What lives here: which acts, and how lines, table and JSON look. What is played is in acts.py, on what in stage.py; how
it looks on a terminal is in live.py and screen.py.
"""

from __future__ import annotations

import dataclasses
import sys
import textwrap
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from json import dumps
from typing import TYPE_CHECKING, Any, Self, TextIO

from failover.kernel import nft
from failover.lab.acts import DEFAULT, MORE, Act
from failover.lab.lan import Lan
from failover.lab.meter import Hear
from failover.lab.namespaces import LabError, gain_privileges
from failover.lab.pattern import STREAMING
from failover.lab.reach import speaks_multipath
from failover.lab.stage import CONFIG, FAILBACK_AFTER, GATEWAY, Played, Said, Stage, Status
from failover.lab.user import Seen
from failover.model import FAMILIES, FailoverError, Family

if TYPE_CHECKING:
    from rich.console import Console

    from failover.lab.live import Screen

KINDS_SHOWN = {"new": "new flows", "udp": "open UDP", "tcp": "open TCP", "mptcp": "MPTCP"}
WITH_REASON = ("switch", "flows")
"""Kinds of lines of which the table has more than their subject."""
HEADS = ("act", *KINDS_SHOWN.values())
WIDE = 100
"""Columns from which on what the agent said has a column of its own."""
PIPE_WIDTH = 160


Flows = Mapping[tuple[Family, str], Seen]


class UsageError(FailoverError):
    """The operator named an act that does not exist."""


def play(
    names: Sequence[str] | None,
    *,
    all_: bool = False,
    json: bool = False,
    list: bool = False,  # noqa: A002
    plain: bool = False,
) -> int:
    """Play these acts, or the default ones, or all; 0 if all came out as promised, 1 if not.

    On a terminal it can be watched, unless `plain` or `json`. Raises UsageError for a wrong name, LabError where
    nothing can be played.
    """
    if list:
        show_list(json=json)
        return 0
    acts = choose(names or (), all_)
    gain_privileges()  # before there are threads
    with _teller(json, plain) as teller:
        teller.say(
            "play", f"a van with three uplinks, 30 ms round trip; failback_after: {FAILBACK_AFTER} instead of 60s"
        )
        results = []
        for number, act in enumerate(acts, 1):
            teller.opens(number, len(acts), act.name, act.title)
            results.append((act, perform(act, teller)))
    if json:
        print(dumps({"acts": [as_json(act, played) for act, played in results]}, indent=2))
    else:
        show_table(results)
    return 1 if any(played.failures for _, played in results) else 0


def show_list(*, json: bool) -> None:
    """Every act there is."""
    acts = [(act, act in DEFAULT) for act in (*DEFAULT, *MORE)]
    if json:
        listed = [{"name": act.name, "title": act.title, "default": default} for act, default in acts]
        print(dumps({"acts": listed}, indent=2))
        return
    for act, default in acts:
        print(f"{act.name:14} {act.title}{'' if default else ' (--all)'}")


def _teller(json: bool, plain: bool) -> Screen | Teller:
    if not (json or plain):
        from failover.lab.live import Screen, is_watchable

        if is_watchable(sys.stdout):
            return Screen(sys.stdout)
    return Teller(sys.stderr if json else sys.stdout)


def choose(names: Sequence[str], all_: bool) -> tuple[Act, ...]:
    """The acts of these names in the order given; the default ones, or all, without names."""
    known = {act.name: act for act in (*DEFAULT, *MORE)}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise UsageError(f"no act is called {unknown[0]}", f"there are {', '.join(known)}")
    if names:
        return tuple(known[name] for name in names)
    return (*DEFAULT, *MORE) if all_ else DEFAULT


def perform(act: Act, teller: Screen | Teller) -> Played:
    """Play one act on a stage of its own."""
    teller.say("play", f"--- {act.name}: {act.title}")
    lan = Lan() if nft.find() else None
    with Stage(teller.say, config=CONFIG + GATEWAY if lan else CONFIG, hear=teller.packet, lan=lan) as stage:
        teller.attends(stage.status)
        if speaks_multipath(stage.world.van):
            stage.user.change(STREAMING)
        try:
            stage.check_traffic(stage.user)
            if act.warm:
                stage.start_agent()
                stage.ready()
            act.play(stage)
        except LabError as error:
            stage.expect(False, str(error))
            if not stage.t0:  # nothing was played yet
                stage.mark(time.monotonic())
        return stage.result()


@dataclass(frozen=True, slots=True)
class Teller:
    """Shows lines as they happen, with the seconds since the start; the same doors as `live.Screen`."""

    stream: TextIO
    started: float = dataclasses.field(default_factory=time.monotonic)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def say(self, who: str, text: str) -> None:
        """One line."""
        print(f"{time.monotonic() - self.started:7.2f} s  {who:5}  {text}", file=self.stream, flush=True)

    def opens(self, number: int, acts: int, name: str, title: str) -> None:
        """The line that names the act is enough."""

    def attends(self, status: Status) -> None:
        """Lines show nothing of the agent's status."""

    @property
    def packet(self) -> Hear | None:
        """Lines show nothing of the packets."""
        return None


def as_json(act: Act, played: Played) -> dict[str, Any]:
    """One act's measurement; seconds are after the fault, null is "not over while it was watched"."""
    return {
        "name": act.name,
        "title": act.title,
        "ok": not played.failures,
        "failures": played.failures,
        "watched_seconds": played.watched_seconds,
        "flows": _flows(played.flows),
        "lan": _flows(played.guest),
        "said": [{"after_seconds": said.at, "kind": said.kind, "text": said.text} for said in played.said],
        "probe_bytes": played.probe_bytes,
    }


def _flows(seen: Flows) -> dict[str, Any]:
    """By family and kind; None where there is none of a kind, nothing where there is nobody."""
    found = {key: dataclasses.asdict(flow) for key, flow in seen.items()}
    return {f.value: {kind: found.get((f, kind)) for kind in STREAMING.intervals} for f in FAMILIES if found}


def show_table(results: Sequence[tuple[Act, Played]]) -> None:
    """One row per act: outages per kind as IPv4 / IPv6, what the agent said, what its probes cost."""
    from rich.console import Console

    console = Console(markup=False, highlight=False, width=None if sys.stdout.isatty() else PIPE_WIDTH)
    console.print("seconds after the fault (failback, all-dead: after the recovery), IPv4 / IPv6", style="italic")
    (_wide if console.width >= WIDE else _narrow)(console, results)
    for act, played in results:
        for failure in played.failures:
            console.print(f"{act.name}: {failure}")
    kept = sum(not played.failures for _, played in results)
    console.print(f"{kept} of {len(results)} acts came out as promised")


def _wide(console: Console, results: Sequence[tuple[Act, Played]]) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(*HEADS, "the agent said", show_lines=True)
    for act, played in results:
        name, *columns = map("\n".join, zip(*_rows(act, played), strict=True))
        table.add_row(Text(name, _style(played)), *columns, "\n".join(_said(played)))
    console.print(table)


def _narrow(console: Console, results: Sequence[tuple[Act, Played]]) -> None:
    """What the agent said stands below each act's rows."""
    from rich.text import Text

    every = [_rows(act, played) for act, played in results]
    widths = [max(map(len, column)) for column in zip(HEADS, *chain.from_iterable(every), strict=True)]

    def line(cells: Sequence[str], style: str) -> None:
        text = "  ".join(f"{cell:<{width}}" for cell, width in zip(cells, widths, strict=True))
        console.print(Text(text.rstrip(), style))

    line(HEADS, "bold")
    for rows, (_, played) in zip(every, results, strict=True):
        for row in rows:
            line(row, _style(played))
        for said in _said(played):
            for part in textwrap.wrap(said, console.width, initial_indent=" " * 4, subsequent_indent=" " * 6):
                console.print(part)


def _rows(act: Act, played: Played) -> list[list[str]]:
    """Of the van, and of the LAN where there is somebody."""
    cells = _losses if act.lossy else _outages
    users = {act.name: played.flows} | ({"  in the LAN": played.guest} if played.guest else {})
    return [[name, *(cells(played, seen, kind) for kind in KINDS_SHOWN)] for name, seen in users.items()]


def _style(played: Played) -> str:
    return "red" if played.failures else "green"


def _said(played: Played) -> list[str]:
    cost = ", ".join(f"{uplink} {count}" for uplink, count in played.probe_bytes.items())
    return [*digest(played.said), f"probe bytes: {cost}"]


def _outages(played: Played, seen: Flows, kind: str) -> str:
    found = (seen.get((family, kind)) for family in FAMILIES)
    return " / ".join("-" if flow is None else _outage(played, flow.outage_seconds) for flow in found)


def _outage(played: Played, seconds: float | None) -> str:
    return f"> {played.watched_seconds:.1f}" if seconds is None else f"{seconds:.2f}"


def _losses(_: Played, seen: Flows, kind: str) -> str:
    found = (seen.get((family, kind)) for family in FAMILIES)
    shares = ("-" if flow is None or not flow.sent else f"{1 - flow.answered / flow.sent:.0%}" for flow in found)
    return " / ".join(shares) + " lost"


def digest(said: Sequence[Said]) -> list[str]:
    """The lines of both families side by side, without the numbers behind them: `0.35 / 0.36 verdict au is doubtful`.

    What the agent finds at its start is left out.
    """
    rows: dict[str, dict[str, float]] = {}
    for line in said:
        if line.kind != "uplink":
            family, what = _without_numbers(line)
            rows.setdefault(what, {}).setdefault(family, line.at)
    shown = {what: (at[""],) if "" in at else tuple(at.get(family) for family in FAMILIES) for what, at in rows.items()}
    return [f"{' / '.join('-' if at is None else f'{at:.2f}' for at in times)} {what}" for what, times in shown.items()]


def _without_numbers(line: Said) -> tuple[str, str]:
    """The one family that a line is of, or nothing; the line without it."""
    subject, *told = line.text.split(": ")
    reason = [told[0].split(",")[0].lstrip("0123456789 ")] if told and line.kind in WITH_REASON else []
    named = [word for word in subject.split() if word in FAMILIES]
    family = named[0] if len(named) == 1 else ""
    words = " ".join(word for word in subject.split() if word != family)
    return family, f"{line.kind} {': '.join([words, *reason])}"
