"""Facts about the box itself, in every kind: what cannot leave by its own device does not leave at all."""

from __future__ import annotations

import asyncio
import ctypes
import dataclasses
import errno
import os
import shutil
import struct
import threading

import pytest

from failover.model import PROBE_PATIENCE, Family, Outcome, ProbeKind, SendProbe, Target
from failover.probes import Probes
from failover.probes.bound import MUTE_GATEWAY
from failover.probes.runner import ATTEMPTS_MAX, ECHOES_MAX

from .ground import ALIVE, MARK, NOBODY, Bench, Ground, play, run_here, send, watching

CAP_NET_ADMIN, CAP_NET_RAW = 12, 13
CAPABILITY_VERSION_3 = 0x20080522
CLONE_NEWNET = 0x40000000

families = pytest.mark.parametrize("family", list(Family))
kinds = pytest.mark.parametrize("kind", [kind for kind in ProbeKind if kind is not ProbeKind.HTTPS])


def order(kind: ProbeKind, family: Family, uplink: str = "wan0") -> SendProbe:
    """A probe of the live target, where nothing listens but the kernel."""
    port = {ProbeKind.TCP: 443, ProbeKind.DNS: 53, ProbeKind.HTTP: 80}.get(kind)
    path = {ProbeKind.DNS: "example.com", ProbeKind.HTTP: "/generate_204"}.get(kind, "")
    return send(family, ALIVE[family], kind=kind, uplink=uplink, port=port, path=path)


@families
@kinds
def test_without_a_route_nothing_leaves_by_any_device(ground: Ground, family: Family, kind: ProbeKind) -> None:
    ground.lose_route("wan0", family)

    async def script(bench: Bench) -> None:
        with watching(ground.van, "wan0", "wan1", "lo") as watchers:
            result = await bench.probe(order(kind, family))
            refused = (Outcome.LOCAL, os.strerror(errno.EHOSTUNREACH))
            mute = (Outcome.SILENT, MUTE_GATEWAY)  # IPv6 says the same of a router that is
            pinged = kind is ProbeKind.ICMP and family is Family.IPV6
            assert (result.outcome, result.detail) == (mute if pinged else refused)
            assert (result.rtt, result.sent_bytes, result.received_bytes) == (None, 0, 0)
            assert [watcher.packets(family, ALIVE[family]) for watcher in watchers] == [[], [], []]

    play(ground, script)


@families
@kinds
def test_a_probe_never_leaves_by_another_device(ground: Ground, family: Family, kind: ProbeKind) -> None:
    """Its mark leads to the other device. An IPv4 packet then looks for the target on its own link, IPv6 gives up."""
    ground.lead_astray(family)

    async def script(bench: Bench) -> None:
        with watching(ground.van, "wan0", "wan1") as (wan0, wan1):
            result = await bench.probe(order(kind, family))
            assert wan1.packets(family, ALIVE[family]) == []
            assert (result.outcome is Outcome.LOCAL) == (wan0.packets(family, ALIVE[family]) == [])
            assert (result.outcome is Outcome.LOCAL) == (family is Family.IPV6)

    play(ground, script)


@families
@kinds
def test_a_device_that_is_not_there(ground: Ground, family: Family, kind: ProbeKind) -> None:
    astray = dataclasses.replace(order(kind, family), interface="wan7")

    async def script(bench: Bench) -> None:
        result = await bench.probe(astray)
        assert result.outcome is Outcome.LOCAL
        assert result.detail in (os.strerror(errno.ENODEV), "no interface with this name")

    play(ground, script)


@families
@pytest.mark.parametrize("kind", [ProbeKind.ICMP, ProbeKind.DNS])
def test_a_full_queue_of_our_own_is_no_loss(ground: Ground, family: Family, kind: ProbeKind) -> None:
    ground.clog()

    async def script(bench: Bench) -> None:
        result = await bench.probe(order(kind, family))
        assert (result.outcome, result.detail) == (Outcome.LOCAL, os.strerror(errno.ENOBUFS))

    play(ground, script)


@families
@pytest.mark.parametrize("kind", [ProbeKind.ICMP, ProbeKind.DNS])
def test_our_own_firewall_is_no_loss(ground: Ground, family: Family, kind: ProbeKind) -> None:
    if shutil.which("nft") is None:
        pytest.skip("needs the Debian package nftables")
    ruleset = "table inet t { chain c { type filter hook output priority 0; meta mark != 0 drop; }; }"
    ground.van.popen(["nft", ruleset]).wait()

    async def script(bench: Bench) -> None:
        result = await bench.probe(order(kind, family))
        assert (result.outcome, result.detail) == (Outcome.LOCAL, os.strerror(errno.EPERM))

    play(ground, script)


@families
@kinds
def test_a_device_comes_back_under_another_index(ground: Ground, family: Family, kind: ProbeKind) -> None:
    """Without being told to forget it: the index is looked at before each probe."""

    async def script(bench: Bench) -> None:
        before = await bench.probe(order(kind, family))
        await asyncio.to_thread(ground.unplug, "wan0")
        assert (await bench.probe(order(kind, family))).outcome is Outcome.LOCAL
        await asyncio.to_thread(ground.plug, "wan0", 40)
        after = await bench.probe(order(kind, family))
        assert after.outcome is before.outcome
        assert after.received_bytes == before.received_bytes > 0

    play(ground, script)


@families
@kinds
def test_forgetting_a_device_ends_its_probes_and_no_others(ground: Ground, family: Family, kind: ProbeKind) -> None:
    async def script(bench: Bench) -> None:
        await bench.probe(order(kind, family))
        lost = dataclasses.replace(order(kind, family), target=aimed(kind, family, NOBODY[family]))
        kept = dataclasses.replace(lost, id=-1, uplink="wan1", interface="wan1", mark=MARK["wan1"])
        bench.probes.start(lost)
        bench.probes.start(kept)
        await bench.settled()
        bench.probes.forget("wan0")
        assert bench.results.empty()
        result = await bench.results.get()
        assert (result.id, result.outcome, result.detail) == (lost.id, Outcome.LOCAL, "wan0 went away")
        await bench.skip(PROBE_PATIENCE + 1)
        result = await bench.results.get()
        assert (result.id, result.outcome) == (-1, Outcome.SILENT)

    play(ground, script)


def aimed(kind: ProbeKind, family: Family, host: str) -> Target:
    """The same target, elsewhere."""
    return dataclasses.replace(order(kind, family).target, host=host)


@kinds
def test_after_close_nothing_is_told(ground: Ground, kind: ProbeKind) -> None:
    async def script(bench: Bench) -> None:
        bench.probes.start(order(kind, Family.IPV4))
        bench.probes.start(dataclasses.replace(order(kind, Family.IPV4), interface="wan7"))
        bench.probes.close()
        await bench.skip(PROBE_PATIENCE + 1)
        assert bench.results.empty()

    play(ground, script)


@pytest.mark.parametrize(("kind", "limit"), [(ProbeKind.ICMP, ECHOES_MAX), (ProbeKind.TCP, ATTEMPTS_MAX)])
def test_open_probes_are_bounded(ground: Ground, kind: ProbeKind, limit: int) -> None:
    async def script(bench: Bench) -> None:
        for _ in range(limit + 1):
            bench.probes.start(
                dataclasses.replace(order(kind, Family.IPV4), target=aimed(kind, Family.IPV4, NOBODY[Family.IPV4]))
            )
        result = await bench.results.get()
        assert result.outcome is Outcome.LOCAL
        assert "too many" in result.detail
        other = ProbeKind.DNS if kind is ProbeKind.ICMP else ProbeKind.ICMP
        assert (await bench.probe(order(other, Family.IPV4))).outcome is not Outcome.LOCAL

    play(ground, script)


def test_an_error_of_our_own_still_ends_the_probe(ground: Ground) -> None:
    def broken(uplink: str, family: Family) -> tuple[str, ...]:
        raise KeyError(uplink)

    async def script(bench: Bench) -> None:
        told: list[str] = []
        bench.loop.set_exception_handler(lambda _, context: told.append(context["message"]))
        probes = Probes(bench.loop, bench.results.put_nowait, broken)
        probes.start(send(Family.IPV4, "www.example.com", kind=ProbeKind.HTTP, port=80, path="/"))
        result = await bench.results.get()
        assert (result.outcome, result.detail) == (Outcome.LOCAL, "internal error: KeyError('wan0')")
        assert len(told) == 1
        probes.close()

    play(ground, script)


@families
def test_two_capabilities_suffice(ground: Ground, family: Family) -> None:
    """Capabilities belong to threads: this one has no others."""
    outcomes: list[Outcome] = []

    async def script(bench: Bench) -> None:
        for kind in (ProbeKind.ICMP, ProbeKind.TCP, ProbeKind.DNS):
            outcomes.append((await bench.probe(order(kind, family))).outcome)

    def limited() -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        assert libc.setns(ground.van.fd, CLONE_NEWNET) == 0
        wanted = 1 << CAP_NET_ADMIN | 1 << CAP_NET_RAW
        header, data = struct.pack("=Ii", CAPABILITY_VERSION_3, 0), struct.pack("=6I", wanted, wanted, 0, 0, 0, 0)
        assert libc.capset(header, data) == 0
        run_here(script)

    thread = threading.Thread(target=limited)
    thread.start()
    thread.join()
    assert outcomes == [Outcome.ANSWERED, Outcome.ANSWERED, Outcome.REFUSED]
