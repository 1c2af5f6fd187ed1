"""DNS probes against servers and forgers, each written with dnspython too."""

from __future__ import annotations

import struct

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest

from failover.model import PROBE_PATIENCE, Family, Outcome, ProbeKind, SendProbe

from .ground import (
    ALIVE,
    GATEWAY,
    NOBODY,
    OTHER,
    PROHIBITED,
    VAN,
    Bench,
    Ground,
    first_sent,
    play,
    send,
    until,
    watching,
)
from .peers import Datagram, udp_forger, udp_server

NAME = "www.example.com"
UDP = 8
IP = {Family.IPV4: 20, Family.IPV6: 40}
families = pytest.mark.parametrize("family", list(Family))


def asks(family: Family, host: str = "") -> SendProbe:
    return send(family, host or ALIVE[family], kind=ProbeKind.DNS, port=53, path=NAME)


def answering(rcode: dns.rcode.Rcode = dns.rcode.NOERROR) -> Datagram:
    def reply(wire: bytes) -> list[bytes]:
        message = dns.message.make_response(dns.message.from_wire(wire))
        message.set_rcode(rcode)
        return [message.to_wire()]

    return reply


@families
def test_an_answer_with_the_bytes_of_the_wire(ground: Ground, family: Family) -> None:
    async def script(bench: Bench) -> None:
        async with udp_server(ground, family, ALIVE[family], 53, answering()):
            with watching(ground.van, "wan0", "wan1") as (wan0, wan1):
                result = await bench.probe(asks(family))
                assert (result.outcome, result.detail) == (Outcome.ANSWERED, "")
                assert result.rtt is not None
                assert 0 < result.rtt < 1
                packets = [len(packet) for _, packet in wan0.packets(family, ALIVE[family])]
                assert packets == [result.sent_bytes, result.received_bytes]
                assert wan1.packets(family, ALIVE[family]) == []

    play(ground, script)


@families
@pytest.mark.parametrize("rcode", [dns.rcode.NXDOMAIN, dns.rcode.SERVFAIL, dns.rcode.REFUSED, dns.rcode.FORMERR])
def test_any_rcode_is_an_answer(ground: Ground, family: Family, rcode: dns.rcode.Rcode) -> None:
    async def script(bench: Bench) -> None:
        async with udp_server(ground, family, ALIVE[family], 53, answering(rcode)):
            result = await bench.probe(asks(family))
            assert (result.outcome, result.detail) == (Outcome.ANSWERED, dns.rcode.to_text(rcode))

    play(ground, script)


@families
def test_each_question_has_its_own_id_and_port(ground: Ground, family: Family) -> None:
    async def script(bench: Bench) -> None:
        async with udp_server(ground, family, ALIVE[family], 53, answering()):
            with watching(ground.van, "wan0") as (wan0,):
                for _ in range(8):
                    await bench.probe(asks(family))
                sent = [packet[IP[family] :] for packet in wan0.sent(family, ALIVE[family])]
        assert len({struct.unpack_from("!H", datagram)[0] for datagram in sent}) > 4
        assert len({struct.unpack_from("!H", datagram, UDP)[0] for datagram in sent}) > 4

    play(ground, script)


def forgeries(question: bytes) -> list[bytes]:
    """Answers that are none; each but for one thing."""
    asked = dns.message.from_wire(question)
    good = dns.message.make_response(asked).to_wire()
    other_name = dns.message.make_response(dns.message.make_query("evil.example.com", asked.question[0].rdtype))
    other_name.id = asked.id
    other_type = dns.message.make_response(dns.message.make_query(NAME, "TXT"))
    other_type.id = asked.id
    return [
        bytes((good[0] ^ 1,)) + good[1:],
        question,
        good[:12],
        good[:-1],
        b"",
        bytes(12),
        asked.id.to_bytes(2, "big") + b"\xff" * 40,
        other_name.to_wire(),
        other_type.to_wire(),
    ]


@families
def test_spoofed_answers_are_passed_over(ground: Ground, family: Family) -> None:
    questions: list[bytes] = []

    def reply(wire: bytes) -> list[bytes]:
        questions.append(wire)
        return forgeries(wire)

    async def script(bench: Bench) -> None:
        async with udp_server(ground, family, ALIVE[family], 53, reply):
            bench.probes.start(asks(family))
            await until(bench, lambda: bool(questions))
        await bench.skip(1.0)
        assert bench.results.empty()
        async with udp_server(ground, family, ALIVE[family], 53, lambda wire: [*forgeries(wire), *answering()(wire)]):
            result = await bench.probe(asks(family))
            assert (result.outcome, result.detail) == (Outcome.ANSWERED, "")

    play(ground, script)


@families
def test_only_the_server_itself_is_heard(ground: Ground, family: Family) -> None:
    """The right answer from another address or another port is not even delivered."""

    async def script(bench: Bench) -> None:
        with watching(ground.van, "wan0") as (wan0,), udp_forger(ground, family) as forge:
            async with udp_server(ground, family, ALIVE[family], 53, lambda wire: []):
                bench.probes.start(asks(family))
                datagram = (await first_sent(bench, wan0, family, ALIVE[family]))[IP[family] :]
                port = struct.unpack_from("!H", datagram)[0]
                (answer,) = answering()(datagram[UDP:])
                forge((OTHER[family], 53), (VAN["wan0"][family], port), answer)
                forge((ALIVE[family], 54), (VAN["wan0"][family], port), answer)
                await bench.skip(2.0)
                assert bench.results.empty()
                forge((ALIVE[family], 53), (VAN["wan0"][family], port), answer)
                result = await bench.results.get()
                assert result.outcome is Outcome.ANSWERED
                assert result.rtt is not None
                assert result.rtt > 2.0

    play(ground, script)


@families
def test_a_router_that_refuses_is_named(ground: Ground, family: Family) -> None:
    async def script(bench: Bench) -> None:
        with watching(ground.van, "wan0") as (wan0,):
            result = await bench.probe(asks(family, PROHIBITED[family]))
            assert result.outcome is Outcome.REFUSED
            assert result.detail.endswith(f"says {GATEWAY['wan0'][family]}")
            packets = [len(packet) for _, packet in wan0.packets(family, PROHIBITED[family])]
            assert packets == [result.sent_bytes, result.received_bytes]

    play(ground, script)


@families
def test_a_closed_port_is_refused_by_the_target(ground: Ground, family: Family) -> None:
    async def script(bench: Bench) -> None:
        result = await bench.probe(asks(family))
        assert (result.outcome, result.detail) == (Outcome.REFUSED, f"port unreachable, says {ALIVE[family]}")

    play(ground, script)


@families
def test_silence_is_final_after_the_patience(ground: Ground, family: Family) -> None:
    async def script(bench: Bench) -> None:
        with watching(ground.van, "wan0") as (wan0,):
            bench.probes.start(asks(family, NOBODY[family]))
            sent = await first_sent(bench, wan0, family, NOBODY[family])
            await bench.skip(PROBE_PATIENCE)
            result = await bench.results.get()
            assert (result.outcome, result.rtt, result.sent_bytes) == (Outcome.SILENT, None, len(sent))

    play(ground, script)


@families
def test_the_kernels_own_word_about_a_mute_gateway_is_silence(ground: Ground, family: Family) -> None:
    version = "ipv4" if family is Family.IPV4 else "ipv6"
    ground.van.sysctl(f"{version}/neigh/wan0/retrans_time_ms", 10)
    ground.mute_gateway(family)

    async def script(bench: Bench) -> None:
        with watching(ground.van, "lo") as (own,):
            bench.probes.start(asks(family))
            await until(bench, lambda: own.packets(family, ALIVE[family]) != [])
            await bench.skip(1.0)
            assert bench.results.empty()

    play(ground, script)
