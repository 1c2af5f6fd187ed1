"""`failover demo`: plays acts in the lab and shows what the agent made of them.

What lives here: which acts, and how lines, table and JSON look. What is played is in acts.py, on what in stage.py.
"""

from __future__ import annotations

import dataclasses
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from json import dumps
from typing import Any, TextIO

from failover.lab.acts import DEFAULT, MORE, Act
from failover.lab.namespaces import LabError, gain_privileges
from failover.lab.stage import FAILBACK_AFTER, Played, Said, Stage, Tell
from failover.lab.user import KINDS
from failover.model import FAMILIES, FailoverError

KINDS_SHOWN = {"new": "new flows", "udp": "open UDP", "tcp": "open TCP"}
PIPE_WIDTH = 160


class UsageError(FailoverError):
    """The operator named an act that does not exist."""


def play(names: Sequence[str] | None, *, all_: bool = False, json: bool = False, list: bool = False) -> int:  # noqa: A002
    """Play these acts, or the default ones, or all; 0 if all came out as promised, 1 if not.

    Raises UsageError for a wrong name, LabError where nothing can be played.
    """
    if list:
        for act in (*DEFAULT, *MORE):
            print(f"{act.name:14} {act.title}{'' if act in DEFAULT else ' (--all)'}")
        return 0
    acts = choose(names or (), all_)
    gain_privileges()
    teller = Teller(sys.stderr if json else sys.stdout)
    teller.say("play", f"a van with three uplinks, 30 ms round trip; failback_after: {FAILBACK_AFTER} instead of 60s")
    results = [(act, perform(act, teller.say)) for act in acts]
    if json:
        print(dumps({"acts": [as_json(act, played) for act, played in results]}, indent=2))
    else:
        show_table(results)
    return 1 if any(played.failures for _, played in results) else 0


def choose(names: Sequence[str], all_: bool) -> tuple[Act, ...]:
    """The acts of these names in the order given; the default ones, or all, without names."""
    known = {act.name: act for act in (*DEFAULT, *MORE)}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise UsageError(f"no act is called {unknown[0]}", f"there are {', '.join(known)}")
    if names:
        return tuple(known[name] for name in names)
    return (*DEFAULT, *MORE) if all_ else DEFAULT


def perform(act: Act, tell: Tell) -> Played:
    """Play one act on a stage of its own."""
    tell("play", f"--- {act.name}: {act.title}")
    with Stage(tell) as stage:
        try:
            stage.check_traffic()
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
    """Shows lines as they happen, with the seconds since the start."""

    stream: TextIO
    started: float = dataclasses.field(default_factory=time.monotonic)

    def say(self, who: str, text: str) -> None:
        """One line."""
        print(f"{time.monotonic() - self.started:7.2f} s  {who:5}  {text}", file=self.stream, flush=True)


def as_json(act: Act, played: Played) -> dict[str, Any]:
    """One act's measurement; seconds are after the fault, null is "not over while it was watched"."""
    flows = {
        family.value: {kind: dataclasses.asdict(played.flows[family, kind]) for kind in KINDS}
        for family in FAMILIES
        if played.flows
    }
    return {
        "name": act.name,
        "title": act.title,
        "ok": not played.failures,
        "failures": played.failures,
        "watched_seconds": played.watched_seconds,
        "flows": flows,
        "said": [{"after_seconds": said.at, "kind": said.kind, "text": said.text} for said in played.said],
        "probe_bytes": played.probe_bytes,
    }


def show_table(results: Sequence[tuple[Act, Played]]) -> None:
    """One row per act: outages per kind as IPv4 / IPv6, what the agent said, what its probes cost."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(markup=False, highlight=False, width=None if sys.stdout.isatty() else PIPE_WIDTH)
    title = "seconds after the fault (failback, all-dead: after the recovery), IPv4 / IPv6"
    table = Table(title=title, title_justify="left", show_lines=True)
    for heading in ("act", *KINDS_SHOWN.values(), "the agent said"):
        table.add_column(heading)
    for act, played in results:
        name = Text(act.name, "green" if not played.failures else "red")
        cost = ", ".join(f"{uplink} {count}" for uplink, count in played.probe_bytes.items())
        cells = (_losses(played, kind) if act.lossy else _outages(played, kind) for kind in KINDS)
        table.add_row(name, *cells, "\n".join([*digest(played.said), f"probe bytes: {cost}"]))
    console.print(table)
    for act, played in results:
        for failure in played.failures:
            console.print(f"{act.name}: {failure}")
    kept = sum(not played.failures for _, played in results)
    console.print(f"{kept} of {len(results)} acts came out as promised")


def _outages(played: Played, kind: str) -> str:
    return " / ".join(_outage(played, played.flows[family, kind].outage_seconds) for family in FAMILIES)


def _outage(played: Played, seconds: float | None) -> str:
    return f"> {played.watched_seconds:.1f}" if seconds is None else f"{seconds:.2f}"


def _losses(played: Played, kind: str) -> str:
    seen = (played.flows[family, kind] for family in FAMILIES)
    return " / ".join("-" if not flow.sent else f"{1 - flow.answered / flow.sent:.0%}" for flow in seen) + " lost"


def digest(said: Sequence[Said]) -> list[str]:
    """The lines of both families side by side, without the numbers behind them: `0.35 / 0.36 verdict au is doubtful`.

    What the agent finds at its start is left out.
    """
    rows: dict[str, dict[str, float]] = {}
    for line in said:
        if line.kind == "uplink":
            continue
        words = line.text.split(": ")[: 2 if line.kind == "switch" else 1]
        named = [word for word in words[0].split() if word in FAMILIES]
        family = named[0] if len(named) == 1 else ""
        what = f"{line.kind} {': '.join(words)}".replace(f"{family} ", "", 1) if family else str(line)
        at = rows.setdefault(what, {})
        at.setdefault(family, line.at)
    shown = {what: (at[""],) if "" in at else tuple(at.get(family) for family in FAMILIES) for what, at in rows.items()}
    return [f"{' / '.join('-' if at is None else f'{at:.2f}' for at in times)} {what}" for what, times in shown.items()]
