"""TCP probes against real kernels."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from failover.model import PROBE_PATIENCE, Family, Outcome, ProbeKind, SendProbe
from failover.probes import tcp

from .ground import AF, ALIVE, GATEWAY, NOBODY, PROHIBITED, UNREACHED, Bench, Ground, play, send, until, watching

PORT = 4433
RST = 4
families = pytest.mark.parametrize("family", list(Family))


def connect(family: Family, host: str) -> SendProbe:
    return send(family, host, kind=ProbeKind.TCP, port=PORT)


@contextmanager
def listening(ground: Ground, family: Family) -> Iterator[None]:
    """The world's kernel accepts connections to the live target."""
    with ground.world.socket(AF[family], socket.SOCK_STREAM) as server:
        server.bind((ALIVE[family], PORT))
        server.listen()
        yield


@families
@pytest.mark.parametrize("timestamps", [1, 0])
def test_connect_time_and_the_bytes_of_the_wire(ground: Ground, family: Family, timestamps: int) -> None:
    ground.world.sysctl("ipv4/tcp_timestamps", timestamps)

    async def script(bench: Bench) -> None:
        with listening(ground, family), watching(ground.van, "wan0", "wan1") as (wan0, wan1):
            result = await bench.probe(connect(family, ALIVE[family]))
            assert (result.outcome, result.detail) == (Outcome.ANSWERED, "")
            assert result.rtt is not None
            assert 0 < result.rtt < 1
            seen = wan0.packets(family, ALIVE[family])
            assert wan1.packets(family, ALIVE[family]) == []
        assert sum(len(packet) for outgoing, packet in seen if outgoing) == result.sent_bytes
        slack = 0 if timestamps else 8
        assert 0 <= result.received_bytes - sum(len(packet) for outgoing, packet in seen if not outgoing) <= slack
        assert len(seen) == 4
        assert seen[-1][1][(20 if family is Family.IPV4 else 40) + 13] & RST

    play(ground, script)


@families
def test_a_reset_is_an_answer(ground: Ground, family: Family) -> None:
    async def script(bench: Bench) -> None:
        with watching(ground.van, "wan0") as (wan0,):
            result = await bench.probe(connect(family, ALIVE[family]))
            assert (result.outcome, result.detail) == (Outcome.ANSWERED, "reset")
            assert result.rtt is not None
            assert [len(packet) for _, packet in wan0.packets(family, ALIVE[family])] == [
                result.sent_bytes,
                result.received_bytes,
            ]

    play(ground, script)


@families
@pytest.mark.parametrize("target", [PROHIBITED, UNREACHED])
def test_a_router_that_refuses_is_named(ground: Ground, family: Family, target: dict[Family, str]) -> None:
    async def script(bench: Bench) -> None:
        with watching(ground.van, "wan0") as (wan0,):
            result = await bench.probe(connect(family, target[family]))
            assert result.outcome is Outcome.REFUSED
            assert result.detail.endswith(f"says {GATEWAY['wan0'][family]}")
            assert [len(packet) for _, packet in wan0.packets(family, target[family])] == [
                result.sent_bytes,
                result.received_bytes,
            ]

    play(ground, script)


@families
def test_silence_is_final_after_the_patience(ground: Ground, family: Family) -> None:
    async def script(bench: Bench) -> None:
        with watching(ground.van, "wan0") as (wan0,), listening(ground, family):
            await bench.probe(connect(family, ALIVE[family]))
            bench.probes.start(connect(family, NOBODY[family]))
            await bench.skip(PROBE_PATIENCE - 0.5)
            assert bench.results.empty()
            await bench.skip(0.6)
            result = await bench.results.get()
            assert (result.outcome, result.rtt, result.received_bytes) == (Outcome.SILENT, None, 0)
            assert result.sent_bytes == sum(map(len, wan0.sent(family, NOBODY[family])))
            assert result.sent_bytes >= 60

    play(ground, script)


@pytest.mark.parametrize("length", [0, 100, 207])
def test_an_old_kernels_tcp_info_is_not_counted_by(length: int) -> None:
    assert tcp.read_info(bytes(length)) is None


@families
def test_a_mute_gateway_is_silence(ground: Ground, family: Family) -> None:
    """The kernel may conclude so itself, before the patience is over; it never is a refusal."""
    version = "ipv4" if family is Family.IPV4 else "ipv6"
    ground.van.sysctl(f"{version}/neigh/wan0/retrans_time_ms", 10)
    ground.mute_gateway(family)

    async def script(bench: Bench) -> None:
        with watching(ground.van, "lo") as (own,):
            bench.probes.start(connect(family, ALIVE[family]))
            await until(bench, lambda: own.packets(family, ALIVE[family]) != [])
            await bench.skip(PROBE_PATIENCE)
            result = await bench.results.get()
            assert (result.outcome, result.rtt, result.received_bytes) == (Outcome.SILENT, None, 0)

    play(ground, script)
