"""A stage for one act of the demo: a world of its own, the real agent in its van, the van's user, what was said when.

What lives here: starting, watching, measuring. What is played on it is in acts.py.
"""

from __future__ import annotations

import contextlib
import os
import random
import re
import select
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from failover.export.client import call
from failover.lab.faults import Fault
from failover.lab.lan import Lan
from failover.lab.meter import Hear, Meter
from failover.lab.namespaces import LabError
from failover.lab.pattern import DENSE, Pattern
from failover.lab.places import CARRIERS, LAN
from failover.lab.user import Seen, User
from failover.lab.world import World
from failover.model import FAMILIES, ControlError, Family, clean

FAILBACK_AFTER = "5s"
METRICS_PORT = 9109
CONFIG = f"""\
uplinks:
{"".join(f"  - {{name: {carrier.name}, interface: {carrier.interface}}}{chr(10)}" for carrier in CARRIERS)}\
policy: {{failback_after: {FAILBACK_AFTER}}}
metrics: {{listen: 127.0.0.1:{METRICS_PORT}}}
"""
GATEWAY = f"gateway: {{lan: [{LAN}], masquerade: true}}\n"
"""Of the config where there is a LAN that the agent is to serve."""
DELAY = 0.015
"""Seconds per direction of every carrier's link, if nothing else is asked for."""
ON_THE_WAY = 0.006
"""Seconds that the median of the user's round trips may take beyond twice the delay before anything is played."""
LOOKS = 5
"""How often the delay is measured before it is believed to be wrong."""
LOOK_INTERVAL = 0.1
PATIENCE = 0.5
"""Seconds that the agent has to answer."""
CALM = 1.5
"""Seconds until the agent probes steadily; a fault comes up to one later, at a random phase."""
LINE_LIMIT = 1 << 16
LINE_SHOWN = 400
_ID = re.compile(r" \[[0-9a-f]+-[0-9]+\]$")
"""At the end of a line, of the entry that it is about."""

Tell = Callable[[str, str], None]
"""Shows one line: who speaks ("play", "agent"), and what."""
Status = Callable[[], Mapping[str, Any]]
"""Asks the agent for its status document; empty while it does not answer."""


@dataclass(frozen=True, slots=True)
class Said:
    """One line of the agent, and when it was heard."""

    at: float
    kind: str
    text: str

    def __str__(self) -> str:
        return f"{self.kind} {self.text}"


@dataclass
class Played:
    """What came of an act. Times are seconds after the fault."""

    flows: dict[tuple[Family, str], Seen] = field(default_factory=dict)
    guest: dict[tuple[Family, str], Seen] = field(default_factory=dict)
    """Of the LAN's first client, where there is one."""
    watched_seconds: float = 0.0
    said: list[Said] = field(default_factory=list)
    probe_bytes: dict[str, int] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)


class Stage:
    """Everything for one act, while entered. t0, the fault's moment, is set by the first begin()."""

    def __init__(
        self,
        tell: Tell,
        seed: int = 1,
        config: str = CONFIG,
        hear: Hear | None = None,
        *,
        delay: float = DELAY,
        pattern: Pattern = DENSE,
        families: Collection[Family] = FAMILIES,
        lan: Lan | None = None,
        guest: Pattern = DENSE,
    ) -> None:
        """`config`: YAML text of the agent's config. `hear` gets the packets on the van's wires. `delay`: seconds per
        direction. `pattern`, `families`: what the user does. `guest`: what somebody does at the first client of the
        `lan`, if there is one."""
        self._tell = tell
        self._seed = seed
        self._config = config
        self._hear = hear
        self._delay = delay
        self._pattern, self._families = pattern, families
        self._lan, self._guest = lan, guest
        self._dice = random.Random(seed)
        self._stack = ExitStack()
        self._agent: subprocess.Popen[bytes] | None = None
        self._pending = b""
        self._bytes_before: dict[str, int] = {}
        self.t0 = 0.0
        self.said: list[Said] = []
        self.failures: list[str] = []

    def __enter__(self) -> Stage:
        try:
            self._directory = Path(self._stack.enter_context(TemporaryDirectory(prefix="failover-demo-")))
            self.config.write_text(self._config)
            self.world = self._stack.enter_context(World(self._seed, self._delay, lan=self._lan))
            self._meter = self._stack.enter_context(Meter(self.world.van, [c.interface for c in CARRIERS], self._hear))
            self.user = self._stack.enter_context(User(self.world.van, self._families, self._pattern))
            self.users = [self.user]
            """In the van, then at the first client."""
            for client in self.world.clients[:1]:
                self.users.append(self._stack.enter_context(User(client, self._families, self._guest)))
            self._stack.callback(self.kill_agent)
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    # --- the agent ---------------------------------------------------------------------------------------------------

    @property
    def config(self) -> Path:
        """The agent's config file."""
        return self._directory / "failover.yaml"

    @property
    def socket(self) -> Path:
        """The agent's control socket."""
        return self._directory / "control.sock"

    def start_agent(self) -> None:
        """Start `failover run` in the van; it is of use after ready()."""
        options = {"config": self.config, "socket": self.socket, "state": self._directory}
        argv = [sys.executable, "-m", "failover", "run"]
        for name, path in options.items():
            argv += [f"--{name}", str(path)]
        self._agent = self.world.van.popen(argv, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, bufsize=0)

    @property
    def agent_pid(self) -> int:
        """Process id of the running agent."""
        assert self._agent is not None
        return self._agent.pid

    def kill_agent(self) -> None:
        """SIGKILL, if it runs."""
        if self._agent is not None:
            assert self._agent.stderr is not None
            self._agent.kill()
            self._agent.wait()
            self._agent.stderr.close()
            self._agent = None

    def ready(self, timeout: float = 10.0) -> None:
        """Wait until the agent has proven every uplink in every family; LabError when it does not come to that."""
        if not self._until(lambda: self._verdicts() == {"up"}, timeout):
            raise LabError(f"the agent has not proven all uplinks within {timeout:.0f} s: {self._verdicts()}")
        if guests := self.users[1:]:
            self.check_traffic(*guests)
        self.watch(CALM + self._dice.random())

    def _verdicts(self) -> set[str]:
        uplinks = self.status().get("uplinks", [])
        return {family["verdict"] for uplink in uplinks for family in uplink["families"].values()}

    def status(self) -> dict[str, Any]:
        """The agent's status document; empty while it does not answer."""
        try:
            status: dict[str, Any] = call(self.socket, "status", {}, PATIENCE)["status"]
            return status
        except ControlError:
            return {}

    def probe_bytes(self) -> dict[str, int]:
        """What probes have put on the wire so far, both ways, per uplink."""
        counted = self._meter.counted()
        return {carrier.name: counted[carrier.interface] for carrier in CARRIERS}

    def metrics_page(self) -> str:
        """What the agent exports now; empty while it does not answer."""
        page = b""
        with self.world.van.socket(socket.AF_INET, socket.SOCK_STREAM) as tcp, contextlib.suppress(OSError):
            tcp.settimeout(2.0)
            tcp.connect(("127.0.0.1", METRICS_PORT))
            tcp.sendall(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            while data := tcp.recv(65536):
                page += data
        return page.decode(errors="replace")

    # --- what happens ------------------------------------------------------------------------------------------------

    def check_traffic(self, *users: User) -> None:
        """LabError unless all flows of these users, or of all, work and the link is as slow as it says; a busy machine
        gets time."""
        users = users or tuple(self.users)
        wrong = "the van's traffic does not flow"
        for _ in range(LOOKS):
            started = time.monotonic()
            if all(self.settle(started, 10.0, user=user) for user in users):
                wrong = self._wrong_delay(users, started)
                if not wrong:
                    return
        raise LabError(wrong)

    def _wrong_delay(self, users: Sequence[User], since: float) -> str:
        low, high = 2 * self._delay, 2 * self._delay + ON_THE_WAY
        for flow in (flow for user in users for flow in user.seen(since).values()):
            if flow.rtt_seconds is not None and not low <= flow.rtt_seconds <= high:
                return f"{flow.family} {flow.kind}: round trip {flow.rtt_seconds} s, not {low} to {high} s"
        return ""

    def begin(self, text: str, fault: Fault) -> float:
        """Play a fault; the first one's moment is t0."""
        self._tell("play", text)
        moment = fault.begin()
        if not self.t0:
            self.mark(moment)
        return moment

    def mark(self, moment: float) -> None:
        """From this moment on outages and what was said count."""
        self.t0 = moment
        self._bytes_before = self.probe_bytes()

    def tell(self, text: str) -> None:
        """One line about what is played."""
        self._tell("play", text)

    def settle(
        self,
        since: float,
        timeout: float,
        families: Collection[Family] = FAMILIES,
        kinds: Collection[str] = (),
        user: User | None = None,
    ) -> bool:
        """Wait until service lasts again for messages sent from `since` on, and hear the agent; False on timeout.

        The user is the van's unless another is named."""
        user = user or self.user
        user.ask_wait(since, timeout, families, kinds)
        try:
            while not select.select([user.helper], [], [], 0.0)[0]:
                self._listen([user.helper.fileno()], 1.0)
        finally:
            over = user.take_wait(timeout + 1.0)
        return over

    def hear(self, kind: str, beginning: str, timeout: float = 0.0, since: float | None = None) -> Said | None:
        """Wait for a line of that kind that begins so, heard since t0 or that moment; None on timeout."""
        begin = self.t0 if since is None else since

        def found() -> Said | None:
            of_kind = (said for said in self.said if said.at >= begin and said.kind == kind)
            return next((said for said in of_kind if said.text.startswith(beginning)), None)

        self._until(lambda: found() is not None, timeout)
        return found()

    def watch(self, seconds: float) -> None:
        """Listen for so long."""
        self._until(lambda: False, seconds)

    def expect(self, holds: bool, otherwise: str) -> None:
        """Note a failure."""
        if not holds:
            self.failures.append(otherwise)
            self._tell("FAIL", otherwise)

    def result(self) -> Played:
        """The measurement, up to now."""
        now, after = time.monotonic(), self.probe_bytes()
        cost = {name: count - self._bytes_before.get(name, 0) for name, count in after.items()}
        said = [replace(said, at=said.at - self.t0) for said in self.said if said.at >= self.t0]
        flows, guest = self.user.seen(self.t0), self.users[-1].seen(self.t0) if self.users[1:] else {}
        return Played(flows, guest, now - self.t0, said, cost, self.failures)

    def _until(self, true: Callable[[], bool], timeout: float) -> bool:
        deadline = time.monotonic() + timeout
        while not true():
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            self._listen([], min(left, LOOK_INTERVAL))
        return True

    def _listen(self, others: list[int], timeout: float) -> None:
        """Take in the agent's lines until the timeout, or until something else wants attention."""
        deadline = time.monotonic() + timeout
        while True:
            agent = [] if self._agent is None or self._agent.stderr is None else [self._agent.stderr.fileno()]
            left = deadline - time.monotonic()
            ready = select.select([*agent, *others], [], [], max(0.0, left))[0]
            for line in self._lines(agent[0]) if agent and agent[0] in ready else ():
                self.said.append(line)
                self._tell("agent", str(line))
            if left <= 0 or any(fd in ready for fd in others):
                return

    def _lines(self, fd: int) -> Iterator[Said]:
        now, data = time.monotonic(), os.read(fd, LINE_LIMIT)
        if not data:
            status = self._agent.wait() if self._agent else None
            self.kill_agent()
            raise LabError(f"the agent has ended with status {status}")
        *lines, self._pending = (self._pending + data)[-LINE_LIMIT:].split(b"\n")
        for line in lines:
            shown = _ID.sub("", clean(line.decode(errors="replace"), LINE_SHOWN))
            kind, _, text = shown.removeprefix("failover: ").partition(": ")
            yield Said(now, kind, text)
