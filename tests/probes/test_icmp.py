"""ICMP probes on real sockets: the peers are kernels and forgers, in namespaces."""

from __future__ import annotations

import os
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from failover.model import PROBE_PATIENCE, Family, Outcome
from failover.probes import packets
from failover.probes.bound import MUTE_GATEWAY

from .ground import (
    AF,
    ALIVE,
    GATEWAY,
    MARK,
    OTHER,
    PROHIBITED,
    UNREACHED,
    VAN,
    Bench,
    Ground,
    Watcher,
    play,
    send,
    until,
    watching,
)
from .peers import Forger, icmp

BYTES = {Family.IPV4: 28, Family.IPV6: 48}
families = pytest.mark.parametrize("family", list(Family))


def echo_of(family: Family, packet: bytes) -> bytes:
    return packet[20 if family is Family.IPV4 else 40 :]


def reply_to(family: Family, request: bytes) -> bytes:
    """The echo reply to a request, checksum blank."""
    return bytes((packets.REPLY[family], 0, 0, 0)) + echo_of(family, request)[4:]


def refusal_of(family: Family, request: bytes, code: int = 1) -> bytes:
    """An unreachable message that quotes the request, checksum blank."""
    return bytes((packets.UNREACHABLE[family], code, 0, 0)) + bytes(4) + request


class Wiretap:
    """What left by wan0 to the live target, and what a forger answers."""

    def __init__(self, ground: Ground, family: Family, watcher: Watcher) -> None:
        self._forger, self._family, self._watcher = Forger(ground), family, watcher

    def request(self) -> bytes:
        """The one echo request since the last call."""
        (packet,) = self._watcher.sent(self._family, ALIVE[self._family])
        return packet

    def answer(self, message: bytes, sender: str = "") -> None:
        """Send an ICMP message to the van, by default in the target's name."""
        family = self._family
        self._forger.send(family, icmp(family, sender or ALIVE[family], VAN["wan0"][family], message))

    def raw(self, packet: bytes) -> None:
        """Send these very bytes."""
        self._forger.send(self._family, packet)

    def close(self) -> None:
        self._forger.close()


@contextmanager
def tapped(ground: Ground, family: Family) -> Iterator[Wiretap]:
    """The world's kernel answers nothing; the test does."""
    ground.world.sysctl("ipv4/icmp_echo_ignore_all", 1)
    ground.world.sysctl("ipv6/icmp/echo_ignore_all", 1)
    with watching(ground.van, "wan0") as (watcher,):
        tap = Wiretap(ground, family, watcher)
        try:
            yield tap
        finally:
            tap.close()


@families
def test_a_live_target_answers_with_the_stated_bytes(ground: Ground, family: Family) -> None:
    async def script(bench: Bench) -> None:
        with watching(ground.van, "wan0", "wan1") as (wan0, wan1):
            result = await bench.probe(send(family, ALIVE[family]))
            assert result.outcome is Outcome.ANSWERED
            assert result.rtt is not None
            assert 0 < result.rtt < 1
            assert [len(packet) for _, packet in wan0.packets(family, ALIVE[family])] == [
                result.sent_bytes,
                result.received_bytes,
            ]
            assert result.sent_bytes == BYTES[family]
            assert wan1.packets(family, ALIVE[family]) == []

    play(ground, script)


@families
def test_each_probe_has_its_own_id_and_sequence_on_one_kept_socket(ground: Ground, family: Family) -> None:
    async def script(bench: Bench) -> None:
        with watching(ground.van, "wan0") as (wan0,):
            for _ in range(8):
                assert (await bench.probe(send(family, ALIVE[family]))).outcome is Outcome.ANSWERED
            pairs = {
                struct.unpack_from("!HH", echo_of(family, packet), 4) for packet in wan0.sent(family, ALIVE[family])
            }
        assert len({ident for ident, _ in pairs}) > 4
        assert len({sequence for _, sequence in pairs}) > 4

    play(ground, script)


@families
def test_another_mark_takes_another_socket_in_its_place(ground: Ground, family: Family) -> None:
    async def script(bench: Bench) -> None:
        def descriptors() -> int:
            return len(os.listdir("/proc/self/fd"))

        probe = send(family, ALIVE[family])
        await bench.probe(probe)
        before = descriptors()
        for number, mark in enumerate((0x99, probe.mark, 0x99)):
            result = await bench.probe(replace(probe, id=probe.id + 1000 + number, mark=mark))
            assert result.outcome is Outcome.ANSWERED
        assert descriptors() == before
        assert bench.probes.ignored == {}

    ground.remark(family, 0x99)
    play(ground, script)


@families
@pytest.mark.parametrize("target", [PROHIBITED, UNREACHED])
def test_a_router_that_refuses_is_named(ground: Ground, family: Family, target: dict[Family, str]) -> None:
    async def script(bench: Bench) -> None:
        result = await bench.probe(send(family, target[family]))
        assert result.outcome is Outcome.REFUSED
        assert result.detail.endswith(f"says {GATEWAY['wan0'][family]}")
        assert result.received_bytes == BYTES[family] * 2

    play(ground, script)


@families
def test_silence_is_final_after_the_patience_and_what_comes_then_is_ignored(ground: Ground, family: Family) -> None:
    async def script(bench: Bench) -> None:
        with tapped(ground, family) as tap:
            bench.probes.start(send(family, ALIVE[family]))
            request = tap.request()
            await bench.skip(PROBE_PATIENCE - 0.5)
            assert bench.results.empty()
            await bench.skip(0.6)
            result = bench.results.get_nowait()
            assert (result.outcome, result.rtt) == (Outcome.SILENT, None)
            assert (result.sent_bytes, result.received_bytes) == (BYTES[family], 0)
            tap.answer(reply_to(family, request))
            await until(bench, lambda: bench.probes.ignored["unmatched"] == 1)
            assert bench.results.empty()

    play(ground, script)


@families
def test_a_reply_that_lies_unread_when_the_patience_ends_is_heard(ground: Ground, family: Family) -> None:
    """A process that was stopped is given the timers that are due before the sockets."""

    async def script(bench: Bench) -> None:
        with tapped(ground, family) as tap:
            bench.probes.start(send(family, ALIVE[family]))
            reply = reply_to(family, tap.request())
            bench.loop.skipped += PROBE_PATIENCE
            bench.loop.call_soon(tap.answer, reply)
            assert (await bench.results.get()).outcome is Outcome.ANSWERED

    play(ground, script)


@families
def test_a_late_reply_keeps_its_true_rtt(ground: Ground, family: Family) -> None:
    async def script(bench: Bench) -> None:
        with tapped(ground, family) as tap:
            bench.probes.start(send(family, ALIVE[family]))
            await bench.skip(9.0)
            assert bench.results.empty()
            tap.answer(reply_to(family, tap.request()))
            result = await bench.results.get()
            assert result.outcome is Outcome.ANSWERED
            assert result.rtt is not None
            assert 9.0 < result.rtt < 9.5

    play(ground, script)


@families
def test_a_duplicate_is_counted_and_ignored(ground: Ground, family: Family) -> None:
    async def script(bench: Bench) -> None:
        with tapped(ground, family) as tap:
            bench.probes.start(send(family, ALIVE[family]))
            reply = reply_to(family, tap.request())
            tap.answer(reply)
            tap.answer(reply)
            assert (await bench.results.get()).outcome is Outcome.ANSWERED
            await until(bench, lambda: bench.probes.ignored["unmatched"] == 1)
            assert bench.results.empty()

    play(ground, script)


def forgeries(family: Family, request: bytes) -> list[tuple[str, bytes, str]]:
    """(what is wrong with it, ICMP message, sender); each would be an answer but for that."""
    good, quoted = reply_to(family, request), refusal_of(family, request)
    at = 8 + (20 if family is Family.IPV4 else 40)
    router = GATEWAY["wan0"][family]

    def bent(message: bytes, offset: int) -> bytes:
        return message[:offset] + bytes((message[offset] ^ 1,)) + message[offset + 1 :]

    return [
        ("another sender", good, OTHER[family]),
        ("another id", bent(good, 5), ""),
        ("another sequence", bent(good, 7), ""),
        ("a payload", good + bytes(100), ""),
        ("a code", bent(good, 1), ""),
        ("quotes another target", bent(quoted, at - 1), router),
        ("quotes another id", bent(quoted, at + 5), router),
        ("quotes another sequence", bent(quoted, at + 7), router),
        ("quotes no echo request", bent(quoted, at), router),
        ("quotes another protocol", bent(quoted, 8 + (9 if family is Family.IPV4 else 6)), router),
        ("quotes too little", quoted[: at + 7], router),
        ("quotes nothing", quoted[:8], router),
    ]


@families
@pytest.mark.parametrize("case", range(12))
def test_a_forgery_is_no_answer_and_does_not_hide_the_real_one(ground: Ground, family: Family, case: int) -> None:
    async def script(bench: Bench) -> None:
        with tapped(ground, family) as tap:
            bench.probes.start(send(family, ALIVE[family]))
            request = tap.request()
            _, message, sender = forgeries(family, request)[case]
            tap.answer(message, sender)
            await bench.skip(1.0)
            tap.answer(reply_to(family, request))
            result = await bench.results.get()
            assert result.outcome is Outcome.ANSWERED
            assert result.rtt is not None
            assert result.rtt > 1.0

    play(ground, script)


def test_a_wrong_checksum_is_no_answer(ground: Ground) -> None:
    """IPv4 only: the kernel hands raw sockets what it would drop itself."""
    family = Family.IPV4

    async def script(bench: Bench) -> None:
        with tapped(ground, family) as tap:
            bench.probes.start(send(family, ALIVE[family]))
            good = icmp(family, ALIVE[family], VAN["wan0"][family], reply_to(family, tap.request()))
            tap.raw(good[:22] + bytes((good[22] ^ 1,)) + good[23:])
            await until(bench, lambda: bench.probes.ignored["meaningless"] == 1)
            assert bench.results.empty()
            tap.raw(good)
            assert (await bench.results.get()).outcome is Outcome.ANSWERED

    play(ground, script)


@families
def test_refused_even_when_the_router_quotes_eight_bytes_only(ground: Ground, family: Family) -> None:
    async def script(bench: Bench) -> None:
        with tapped(ground, family) as tap:
            bench.probes.start(send(family, ALIVE[family]))
            tap.answer(refusal_of(family, tap.request()), OTHER[family])
            result = await bench.results.get()
            assert result.outcome is Outcome.REFUSED
            assert result.detail.endswith(f"says {OTHER[family]}")

    play(ground, script)


def test_fragmentation_needed_refuses_nothing(ground: Ground) -> None:
    family = Family.IPV4

    async def script(bench: Bench) -> None:
        with tapped(ground, family) as tap:
            bench.probes.start(send(family, ALIVE[family]))
            request = tap.request()
            tap.answer(refusal_of(family, request, code=4), GATEWAY["wan0"][family])
            tap.answer(reply_to(family, request))
            assert (await bench.results.get()).outcome is Outcome.ANSWERED

    play(ground, script)


@families
def test_a_busy_loop_does_not_lengthen_the_rtt(ground: Ground, family: Family) -> None:
    """The kernel takes a moment to begin stamping; without its stamps no probe would ever look short here."""

    async def busy(bench: Bench) -> float:
        bench.probes.start(send(family, ALIVE[family]))
        busy_until = time.monotonic() + 0.05
        while time.monotonic() < busy_until:
            pass
        result = await bench.results.get()
        assert result.rtt is not None
        return result.rtt

    async def script(bench: Bench) -> None:
        deadline = time.monotonic() + 20
        while await busy(bench) > 0.02:
            assert time.monotonic() < deadline

    play(ground, script)


@families
def test_the_pings_of_other_programs_do_not_wake_us(ground: Ground, family: Family) -> None:
    async def script(bench: Bench) -> None:
        await bench.probe(send(family, ALIVE[family]))
        protocol = packets.ICMP if family is Family.IPV4 else packets.ICMPV6
        with ground.van.socket(AF[family], socket.SOCK_RAW, protocol) as other:
            other.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, MARK["wan0"])
            for payload in (56, 8, 0):
                if family is Family.IPV4 and payload == 8:
                    continue
                request = packets.echo_request(family, 7, 7) + bytes(payload)
                other.sendto(
                    request[:2] + bytes(2) + request[4:] if family is Family.IPV6 else _summed(request),
                    (ALIVE[family], 0),
                )
        await until(bench, lambda: bench.probes.ignored["unmatched"] == 1)
        assert bench.probes.ignored == {"unmatched": 1}

    play(ground, script)


def _summed(message: bytes) -> bytes:
    blank = message[:2] + bytes(2) + message[4:]
    return blank[:2] + struct.pack("!H", packets.checksum(blank)) + blank[4:]


@families
def test_the_kernels_own_word_about_a_mute_gateway_is_silence(ground: Ground, family: Family) -> None:
    """It says `host unreachable` in our own name when nobody answers ARP or neighbour discovery."""
    version = "ipv4" if family is Family.IPV4 else "ipv6"
    ground.van.sysctl(f"{version}/neigh/wan0/retrans_time_ms", 10)
    ground.mute_gateway(family)

    async def script(bench: Bench) -> None:
        bench.probes.start(send(family, ALIVE[family]))
        await until(bench, lambda: not bench.results.empty())
        result = bench.results.get_nowait()
        assert (result.outcome, result.detail) == (Outcome.SILENT, MUTE_GATEWAY)
        assert result.received_bytes == 0

    play(ground, script)
