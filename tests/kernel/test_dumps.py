"""Reading while others write: the result is always whole. And what reading and writing may cost."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from failover.facts import Facts, Verb
from failover.kernel import Kernel
from failover.kernel.netlink import DUMP_TRIES, Dump, Netlink
from failover.kernel.routes import RTM_NEWROUTE
from failover.kernel.rules import RTM_GETRULE, asked
from failover.kernel.wire import Message
from failover.lab.rtnl import Route as LabRoute
from failover.model import FAMILIES, Family, KernelError

from .box import GATEWAYS, V4, V6, WAN0, WAN1, Box, add, apply, default, layout, mains

OTHER_ROUTES = 600
"""Enough for a dump in several pieces."""


@contextmanager
def churn(
    box: Box, tmp_path: Path, lines: list[str], options: tuple[str, ...] = ()
) -> Iterator[subprocess.Popen[bytes]]:
    """Another process that plays these lines of `ip -batch` in the van."""
    batch = tmp_path / "batch"
    batch.write_text("\n".join(lines) + "\n")
    process = box.start("ip", *options, "-batch", str(batch))
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def prefix(family: Family, number: int) -> str:
    return f"11.{number >> 8}.{number & 255}.0/24" if family is V4 else f"2001:{number:x}::/48"


def of(family: Family, facts: Facts) -> list[tuple[int, int, int | None]]:
    return [(route.table, route.metric, route.interface) for route in facts.routes if route.family is family]


@pytest.mark.parametrize("family", FAMILIES)
def test_no_default_is_missed_while_hundreds_of_routes_come_and_go(
    box: Box, kernel: Kernel, tmp_path: Path, family: Family
) -> None:
    gateway = GATEWAYS[WAN0][family]
    box.ip(f"-{family[-1]} route add default via {gateway} metric 100")
    add(kernel, *layout(family))
    expected = of(family, kernel.read())
    some = range(OTHER_ROUTES)
    lines = [f"route add {prefix(family, n + 9000)} via {gateway}" for n in some]
    lines += [f"route {verb} {prefix(family, n)} via {gateway}" for verb in ("add", "del") * 4 for n in some]
    reads = 0
    with churn(box, tmp_path, lines, (f"-{family[-1]}",)) as process:
        while process.poll() is None:
            assert of(family, kernel.read()) == expected
            reads += 1
        assert process.wait() == 0
    assert reads > 0


class Meddled(Netlink):
    """Somebody is at work between the first two pieces of the first IPv6 dump."""

    def __init__(self, work: Callable[[], object]) -> None:
        super().__init__()
        self.work: Callable[[], object] | None = work

    def _receive(self, sequence: int) -> Iterator[Message]:
        answers = list(super()._receive(sequence))
        if self.work and any(a.kind == RTM_NEWROUTE and a.body[0] == socket.AF_INET6 for a in answers):
            work, self.work = self.work, None
            work()
        return iter(answers)


def test_the_default_is_there_when_routes_change_between_two_pieces(box: Box, kernel: Kernel) -> None:
    """The kernel begins anew and skips as many routes as it has told: past the default, which is the last."""
    gateway = GATEWAYS[WAN0][V6]
    box.ip(f"-6 route add default via {gateway} metric 100")
    others = [LabRoute(prefix(V6, number), WAN0, gateway) for number in range(OTHER_ROUTES)]
    for route in others:
        box.van.rtnl.add_route(route)

    def change_all() -> None:
        for route in others:
            box.van.rtnl.remove_route(route)
        box.van.rtnl.add_route(others[0])

    kernel.close()
    kernel._netlink = meddled = Meddled(change_all)
    assert [route.metric for route in mains(kernel.read(), V6)] == [100]
    assert meddled.work is None


@pytest.mark.parametrize("family", FAMILIES)
def test_a_replace_is_seen_before_or_after_never_between(
    box: Box, kernel: Kernel, tmp_path: Path, family: Family
) -> None:
    ways = {index: f"via {GATEWAYS[index][family]} dev wan{index // 10 - 1}" for index in (WAN0, WAN1)}
    lines = [f"route replace default {ways[index]} metric 5" for _ in range(1000) for index in (WAN0, WAN1)]
    box.ip(f"-{family[-1]} {lines[0]}")
    seen = set()
    with churn(box, tmp_path, lines, (f"-{family[-1]}",)) as process:
        while process.poll() is None:
            (only,) = mains(kernel.read(), family)
            assert only.interface is not None
            assert only.gateway == GATEWAYS[only.interface][family]
            seen.add(only.interface)
    assert seen <= {WAN0, WAN1}
    assert seen


def test_rules_and_addresses_are_whole_while_others_come_and_go(box: Box, kernel: Kernel, tmp_path: Path) -> None:
    add(kernel, *layout(V4), *layout(V6))
    ours = [rule for rule in kernel.read().rules if rule.protocol == 155]
    steady = set(kernel.read().addresses)
    lines = []
    for verb in ("add", "del") * 4:
        lines += [f"rule {verb} fwmark {n + 1} lookup 7 pref {15000 + n}" for n in range(200)]
        lines += [f"addr {verb} 10.10.1.{n}/32 dev wan0" for n in range(1, 200)]
    with churn(box, tmp_path, lines) as process:
        while process.poll() is None:
            try:
                facts = kernel.read()
            except KernelError as error:
                torn = str(error)
                assert "changed during each" in torn
                continue
            assert [rule for rule in facts.rules if rule.protocol == 155] == ours
            assert steady <= set(facts.addresses)
        assert process.wait() == 0


class Torn(Netlink):
    """A kernel whose first answers are torn."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.times = times

    def _dump_once(self, kind: int, body: bytes) -> Dump:
        found = super()._dump_once(kind, body)
        self.times -= 1
        found.torn = self.times >= 0
        return found


def test_a_torn_dump_is_repeated_but_not_for_ever(kernel: Kernel) -> None:
    for times, expected in ((DUMP_TRIES - 1, 3), (DUMP_TRIES, 0)):
        netlink = Torn(times)
        try:
            if expected:
                assert len(netlink.dump(RTM_GETRULE, asked(V4)).bodies) == expected
            else:
                with pytest.raises(KernelError, match="changed during each of 8 reads"):
                    netlink.dump(RTM_GETRULE, asked(V4))
        finally:
            netlink.close()


def test_what_it_costs(box: Box, kernel: Kernel) -> None:
    """As a rule a read takes 3 ms, a switch 0.3 ms; the quicker quarter, with room, as the machine may be busy."""
    for family in FAMILIES:
        box.ip(f"-{family[-1]} route add default via {GATEWAYS[WAN0][family]} metric 100")
        add(kernel, *layout(family))
    reads, switches = [], []
    for number in range(100):
        began = time.perf_counter()
        kernel.read()
        read = time.perf_counter()
        assert apply(kernel, Verb.REPLACE, default(V4, 15500, (WAN0, WAN1)[number % 2])) == [None]
        switches.append(time.perf_counter() - read)
        reads.append(read - began)
    assert sorted(reads)[25] <= 0.006
    assert sorted(switches)[25] <= 0.0006
