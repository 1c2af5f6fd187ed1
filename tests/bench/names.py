"""What a silent blackout does to name lookups, with the real agent and the real systemd-resolved or dnsmasq: how long
after the kernel's switch a question is answered again, in the box and at a client of its LAN.

Two carriers, each with a resolver that answers nobody else's customers; questions all the time, each of its own.
"""

from __future__ import annotations

import random
import select
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from math import inf
from pathlib import Path
from typing import Final

import dns.message

from failover.lab.namespaces import Namespace
from failover.lab.switches import Switches
from failover.model import Family
from tests.agent.running import Agent
from tests.bench.report import Figure
from tests.bench.scene import tell
from tests.names.box import Box, require
from tests.names.carriers import Carriers
from tests.names.conftest import ADDRESS, Administrator, clients, started, until
from tests.names.whole import OWN_FILE, STUB, agent, blackout, config

INTERVAL: Final = 0.02
"""Seconds from one question to the next."""
PATIENCE: Final = 10.0
SETTLE: Final = 2.0
"""Seconds with everything in order before a fault, and up to one more at random."""
WITHIN: Final = {"max": 1.0}
DNSMASQ: Final = (
    "dnsmasq --keep-in-foreground --conf-file=/dev/null --pid-file= --user=root --no-hosts --cache-size=0 "
    f"--resolv-file={OWN_FILE} --listen-address={ADDRESS} --bind-interfaces"
).split()

Begin = Callable[[], AbstractContextManager[Agent]]
"""Begins an agent; each run has one of its own."""


class Questions:
    """Asked of one server from one place, while entered."""

    def __init__(self, place: Namespace, server: str) -> None:
        self._socket = place.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.connect((server, 53))
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._ask)
        self._answered: list[tuple[float, float]] = []

    def first(self, since: float) -> float:
        """When the first answer came to a question asked from `since` on; infinite while there is none."""
        return next((answer for asked, answer in tuple(self._answered) if asked >= since), inf)

    def _ask(self) -> None:
        asked: dict[int, float] = {}
        number = 0
        while not self._over.is_set():
            number = (number + 1) % 65536
            query = dns.message.make_query(f"n{number}-{time.monotonic_ns()}.example", "A", id=number)
            asked[number] = now = time.monotonic()
            try:
                self._socket.send(query.to_wire())
                while select.select([self._socket], [], [], max(0.0, now + INTERVAL - time.monotonic()))[0]:
                    self._take(asked)
            except ConnectionRefusedError:  # nobody is there yet
                self._over.wait(INTERVAL)

    def _take(self, asked: dict[int, float]) -> None:
        reply = dns.message.from_wire(self._socket.recv(4096))
        if reply.answer and reply.id in asked:
            self._answered.append((asked.pop(reply.id), time.monotonic()))

    def __enter__(self) -> Questions:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self._socket.close()


@contextmanager
def resolved(van: Namespace, carriers: Carriers) -> Iterator[Begin]:
    """A box that systemd-resolved serves, and its LAN with it."""
    with started(van, settings=f"DNSStubListenerExtra={ADDRESS}\n") as box:
        (box.root / "etc/resolv.conf").write_text(STUB)
        for carrier in carriers.all:
            entry = [[2, bytes(map(int, carrier.own.split(".")))]]
            Administrator(box).manager("SetLinkDNS", "ia(iay)", carrier.here.index, entry)
        yield lambda: agent(box, config())


@contextmanager
def dnsmasq(van: Namespace, carriers: Carriers) -> Iterator[Begin]:
    """A box whose agent writes a file, which a dnsmasq for the LAN reads."""
    with tempfile.TemporaryDirectory() as folder, Box(van, Path(folder), require("openresolv")) as box:
        box.popen(*DNSMASQ, stdout=subprocess.DEVNULL)
        yield lambda: agent(box, config("file", carriers[1].own, carriers[2].own))


WAYS: Final[Mapping[str, tuple[Callable[[Namespace, Carriers], AbstractContextManager[Begin]], Mapping[str, str]]]] = {
    "systemd-resolved": (resolved, {"the box": "127.0.0.53", "a LAN client": ADDRESS}),
    "a file, dnsmasq": (dnsmasq, {"a LAN client": ADDRESS}),
}
"""And whom one asks in each place."""


def play(runs: int) -> list[Figure]:
    """By each way and place: from the kernel's switch, and from the fault, to an answer."""
    figures = []
    with ExitStack() as stack:
        van = stack.enter_context(Namespace("van"))
        carriers = Carriers(van, (1, 2))
        stack.callback(carriers.close)
        lan = stack.enter_context(clients(van))
        for way, (laid, servers) in WAYS.items():
            with laid(van, carriers) as begin, ExitStack() as asking:
                questions = [
                    asking.enter_context(Questions(van if place == "the box" else lan, server))
                    for place, server in servers.items()
                ]
                found = [_run(seed, van, begin, carriers, questions) for seed in range(runs)]
            for place, column in zip(servers, zip(*found, strict=True), strict=True):
                figures.append(
                    Figure(f"names: {place}, from switch", "s", [one for one, _ in column], dict(WITHIN), way)
                )
                figures.append(Figure(f"names: {place}, from fault", "s", [one for _, one in column], {}, way))
    return figures


def _run(
    seed: int, van: Namespace, begin: Begin, carriers: Carriers, questions: Sequence[Questions]
) -> list[tuple[float, float]]:
    """Of each place: seconds from the switch, and from the fault, until a question asked since then is answered."""
    with begin() as ours, Switches(van) as switches:
        ours.until(lambda status: {u["families"]["ipv4"]["verdict"] for u in status["uplinks"]} == {"up"})
        begun = time.monotonic()
        until(lambda: all(one.first(begun) < inf for one in questions))
        ours.hear(SETTLE + random.Random(seed).random())
        fault = time.monotonic()
        blackout(carriers, 1)
        switch = switches.left("up1", Family.IPV4, fault, PATIENCE)
        assert switch is not None
        until(lambda: all(one.first(switch) < inf for one in questions))
        found = [(one.first(switch) - switch, one.first(switch) - fault) for one in questions]
        blackout(carriers, 1, over=True)
    tell(f"names, run {seed}: {' '.join(f'{after:.3f} ({whole:.3f})' for after, whole in found)} s")
    return found
