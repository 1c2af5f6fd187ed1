"""When the counters and the sockets are read, and over which interfaces flows are counted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import pytest

from failover.core.engine import Engine, Event
from failover.core.sampler import BLIND_INTERVAL, BLIND_MAX, BUSY_INTERVAL, REST_INTERVAL, SOCKETS_INTERVAL, Sampler
from failover.core.uplinks import resolve
from failover.facts import Address, Facts, Tap
from failover.model import Family, Verdict
from failover.seam import CountFlows, Effect, ReadCounters, ReadSockets

from .box import QUICK, Box, dead, ground
from .traffic import Traffic, every
from .worlds import V4, V6, way


class Recorder(Engine):
    """Keeps what it asks for."""

    asked: list[tuple[float, Effect]]

    def handle(self, now: float, event: Event) -> list[Effect]:
        return self._keep(now, super().handle(now, event))

    def wake(self, now: float) -> list[Effect]:
        return self._keep(now, super().wake(now))

    def _keep(self, now: float, effects: list[Effect]) -> list[Effect]:
        self.asked = [*getattr(self, "asked", []), *((now, effect) for effect in effects)]
        return effects


def counted(traffic: Traffic, *names: str) -> Box:
    box = Box(*names, brain=Recorder)
    box.counts = traffic.told
    return box


def asked(box: Box, kind: type[Effect], since: float, until: float) -> list[float]:
    assert isinstance(box.engine, Recorder)
    return [at for at, effect in box.engine.asked if isinstance(effect, kind) and since <= at < until]


def gaps(moments: Sequence[float]) -> list[float]:
    return [later - earlier for earlier, later in pairwise(moments)]


def test_often_while_there_is_traffic_and_seldom_two_seconds_after_it() -> None:
    traffic = Traffic().talk(every(0.1, 20, 30))
    counted(traffic, "a", "b").run(50)
    reads = traffic.reads
    during = gaps([at for at in reads if 20.5 <= at < 31.8])
    assert max(during) == pytest.approx(BUSY_INTERVAL)
    for start, end in ((5, 19.9), (32.5, 50)):
        resting = gaps([at for at in reads if start <= at < end])
        assert resting == pytest.approx([REST_INTERVAL] * len(resting))
        assert len(resting) >= 50


def test_probes_do_not_wake_it() -> None:
    traffic = Traffic()
    box = counted(traffic, "a", "b").run(60)
    assert len(box.probes("a", 10, 60)) == pytest.approx(50, abs=1)
    assert len([at for at in traffic.reads if 10 <= at < 60]) == pytest.approx(50 / REST_INTERVAL, abs=1)


def test_a_dead_uplink_that_nobody_uses_does_not_keep_it_awake() -> None:
    """What waits for an answer is no traffic."""
    traffic = Traffic().talk(every(0.02, 50, 105), dead=100)
    box = counted(traffic, "a", "b")
    box.weather["a"] = dead(100)
    box.run(200)
    assert box.verdict("a") is Verdict.DOWN
    assert len([at for at in traffic.reads if 120 <= at < 200]) <= 80 / REST_INTERVAL + 30
    assert asked(box, ReadSockets, 120, 200) == []


def test_where_nothing_is_counted_somebody_looks_now_and_then() -> None:
    box = Box("a", "b", brain=Recorder).run(300)
    reads = asked(box, ReadCounters, 0, 300)
    assert gaps(reads) == pytest.approx([min(BLIND_MAX, BLIND_INTERVAL * 2**n) for n in range(len(reads) - 1)])
    assert asked(box, ReadSockets, 0, 300) == []


def test_sockets_are_read_each_second_with_traffic_and_never_without() -> None:
    box = counted(Traffic().talk(every(0.1, 20, 30)), "a", "b").run(60)
    reads = asked(box, ReadSockets, 0, 60)
    assert reads[0] >= 20
    assert reads[-1] <= 34
    assert gaps(reads) == pytest.approx([SOCKETS_INTERVAL] * (len(reads) - 1), abs=2 * BUSY_INTERVAL)
    assert len(reads) >= 10


def test_they_are_those_of_the_uplinks_addresses_without_what_stays_on_their_wires() -> None:
    box = counted(Traffic().talk(every(0.1, 2, 9)), "a", "b").run(9)
    assert isinstance(box.engine, Recorder)
    reads = {effect for _, effect in box.engine.asked if isinstance(effect, ReadSockets)}
    assert reads == {ReadSockets(("10.0.2.2", "10.0.3.2"), ("10.0.2.0/24", "10.0.3.0/24"), QUICK.fwmark_mask)}


def test_the_weak_kind_is_read_seldom_whatever_it_counts() -> None:
    traffic = Traffic().add("fresh", every(0.02, 20, 40))
    box = counted(traffic, "a", "b")
    box.weak = True
    box.run(40)
    reads = [at for at in traffic.reads if 20 <= at < 40]
    assert max(gaps(reads)) == pytest.approx(REST_INTERVAL)
    assert len(reads) == pytest.approx(20 / REST_INTERVAL, abs=5), "a few more when something falls due"
    assert asked(box, ReadSockets, 0, 40) == []


# --- taps ------------------------------------------------------------------------------------------------------------


def taps(facts: Facts) -> tuple[Tap, ...]:
    (effect,) = Sampler().follow(0.0, resolve(facts, QUICK, {}), facts, QUICK)
    assert isinstance(effect, CountFlows)
    assert effect.mask == QUICK.fwmark_mask
    return effect.taps


def one(family: Family, address: str, length: int, gateway: str | None) -> Facts:
    return replace(ground("a"), addresses=(Address(2, family, address, length),), routes=(way(2, family, gateway),))


@pytest.mark.parametrize(
    ("facts", "local"),
    [
        (ground("a"), ("10.0.2.0/24",)),
        (ground("a", (V4, V6)), ("10.0.2.0/24", "2001:db8:2::/64")),
        (one(V4, "100.64.3.4", 32, None), ()),
        (one(V4, "100.64.3.4", 10, None), ()),
        (one(V4, "100.64.3.4", 30, "192.0.2.1"), ()),
        (one(V4, "192.168.8.100", 24, "192.168.8.1"), ("192.168.8.0/24",)),
        (one(V6, "2001:db8::7", 64, "2001:db8::1"), ("2001:db8::/64",)),
        (one(V6, "2001:db8::7", 64, "2001:db8:1::1"), ()),
    ],
)
def test_a_network_with_its_router_is_local(facts: Facts, local: tuple[str, ...]) -> None:
    assert taps(facts) == (Tap("a", local),)


def test_every_uplink_that_is_there_is_counted_and_told_of_when_that_changes() -> None:
    box = Box("a", "b", brain=Recorder).run(10)
    box.stir()
    box.run(20)
    assert isinstance(box.engine, Recorder)
    assert [at for at, effect in box.engine.asked if isinstance(effect, CountFlows)] == [0]
    box.unplug("b")
    box.run(30)
    (_, last) = [(at, effect.taps) for at, effect in box.engine.asked if isinstance(effect, CountFlows)]
    assert last == (20, (Tap("a", ("10.0.2.0/24",)),))
