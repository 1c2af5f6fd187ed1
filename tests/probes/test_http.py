"""HTTP probes: servers, portals and name servers in the world."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import dns.message
import dns.rcode
import dns.rrset
import pytest

from failover.model import PROBE_PATIENCE, Family, Outcome, ProbeKind, SendProbe
from failover.probes import http, resolve
from failover.probes.attempt import LAST_LOOK

from .ground import ALIVE, GATEWAY, NOBODY, OTHER, PROHIBITED, Bench, Ground, play, send, until, watching
from .peers import OK, Datagram, saying, tcp_server, udp_server, zone

NAME = "www.example.com"
PRIVATE = {Family.IPV4: "10.11.12.13", Family.IPV6: "fd00::13"}
families = pytest.mark.parametrize("family", list(Family))


def page(family: Family, host: str = "", status: int = 204) -> SendProbe:
    return send(family, host or ALIVE[family], kind=ProbeKind.HTTP, port=80, path="/generate_204?a=b", status=status)


async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")


@families
def test_the_expected_status_with_the_bytes_of_the_wire(ground: Ground, family: Family) -> None:
    requests: list[bytes] = []

    async def script(bench: Bench) -> None:
        async with tcp_server(ground, family, ALIVE[family], 80, saying(OK, requests)):
            with watching(ground.van, "wan0", "wan1") as (wan0, wan1):
                result = await bench.probe(page(family))
                seen = wan0.packets(family, ALIVE[family])
                assert wan1.packets(family, ALIVE[family]) == []
            assert (result.outcome, result.detail) == (Outcome.ANSWERED, "")
            assert result.rtt is not None
            assert 0 < result.rtt < 1
            assert result.sent_bytes == sum(len(packet) for outgoing, packet in seen if outgoing)
            assert result.received_bytes == sum(len(packet) for outgoing, packet in seen if not outgoing)
            host = ALIVE[family] if family is Family.IPV4 else f"[{ALIVE[family]}]"
            assert requests[0].startswith(f"GET /generate_204?a=b HTTP/1.1\r\nHost: {host}\r\n".encode())

    play(ground, script)


@families
@pytest.mark.parametrize(
    ("answer", "detail"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nplease pay", "status 200 instead of 204"),
        (b"HTTP/1.1 302 Found\r\nLocation: http://portal.invalid/\r\n\r\n", "status 302 to http://portal.invalid/"),
        (b"HTTP/1.1 302 Found\r\nLocation: /a\xe2\x80\xaeb\xff\r\n\r\n", "status 302 to /a?b\ufffd"),
        (b"HTTP/1.1 511 Network Authentication Required\r\n\r\n", "status 511 instead of 204"),
        (b"<html>please pay</html>\r\n\r\n", "not HTTP: "),
        (b"\x00\x01\x02\r\n\r\n", "not HTTP: "),
        (b"HTTP/1.1 204 No Content\r\n" + b"X: " + b"y" * 40000, "not HTTP: "),
        (b"HTTP/1.1 100 Continue\r\n\r\n" * 4000, "not HTTP: "),
    ],
)
def test_anything_but_the_expected_status_is_a_portal(
    ground: Ground, family: Family, answer: bytes, detail: str
) -> None:
    async def script(bench: Bench) -> None:
        async with tcp_server(ground, family, ALIVE[family], 80, saying(answer)):
            result = await bench.probe(page(family))
            assert result.outcome is Outcome.PORTAL
            assert result.detail.startswith(detail)
            assert len(result.detail) <= 128

    play(ground, script)


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n" + b"x" * 300000, 200),
        (b"HTTP/1.0 404 Not Found\r\n\r\n", 404),
        (b"HTTP/1.1 100 Continue\r\n\r\n" * 3 + OK, 204),
    ],
)
def test_the_status_is_all_that_is_read(ground: Ground, answer: bytes, status: int) -> None:
    family = Family.IPV4

    async def script(bench: Bench) -> None:
        async with tcp_server(ground, family, ALIVE[family], 80, saying(answer)):
            result = await bench.probe(page(family, status=status))
            assert result.outcome is Outcome.ANSWERED
            assert result.received_bytes < 60000

    play(ground, script)


@families
def test_a_server_that_hangs_up_says_nothing(ground: Ground, family: Family) -> None:
    async def script(bench: Bench) -> None:
        async with tcp_server(ground, family, ALIVE[family], 80, hang_up):
            result = await bench.probe(page(family))
            assert result.outcome is Outcome.SILENT
            assert result.detail.startswith("hung up before a status: ")
        result = await bench.probe(page(family))
        assert (result.outcome, result.detail) == (Outcome.SILENT, "hung up before a status: Connection refused")

    play(ground, script)


@families
def test_a_mute_server_is_given_ten_seconds(ground: Ground, family: Family) -> None:
    requests: list[bytes] = []

    async def script(bench: Bench) -> None:
        async with tcp_server(ground, family, ALIVE[family], 80, saying(b"", requests)):
            bench.probes.start(page(family))
            await until(bench, lambda: bool(requests))
            await bench.skip(http.PATIENCE - 1)
            assert bench.results.empty()
            await bench.skip(1 - LAST_LOOK)
            await bench.skip(LAST_LOOK)
            result = bench.results.get_nowait()
            assert (result.outcome, result.rtt) == (Outcome.SILENT, None)
            assert result.sent_bytes > 100

    play(ground, script)


@families
def test_a_router_that_refuses_is_named(ground: Ground, family: Family) -> None:
    async def script(bench: Bench) -> None:
        result = await bench.probe(page(family, PROHIBITED[family]))
        assert result.outcome is Outcome.REFUSED
        assert result.detail.endswith(f"says {GATEWAY['wan0'][family]}")

    play(ground, script)


@asynccontextmanager
async def named(bench: Bench, ground: Ground, family: Family, answer: Datagram) -> AsyncIterator[None]:
    """The uplink's name server lives at ALIVE, the web server at OTHER."""
    bench.resolvers = (ALIVE[family],)
    async with (
        udp_server(ground, family, ALIVE[family], 53, answer),
        tcp_server(ground, family, OTHER[family], 80, saying(OK)),
    ):
        yield


@families
def test_a_name_is_resolved_over_the_uplink(ground: Ground, family: Family) -> None:
    async def script(bench: Bench) -> None:
        async with named(bench, ground, family, zone([OTHER[family]])):
            with watching(ground.van, "wan0", "wan1", "lo") as (wan0, wan1, own):
                result = await bench.probe(page(family, NAME))
                assert (result.outcome, result.detail) == (Outcome.ANSWERED, "")
                seen = [*wan0.packets(family, ALIVE[family])]
                assert len(seen) == 2
                assert result.sent_bytes > len(seen[0][1]) + 100
                assert wan1.packets(family, ALIVE[family]) == own.packets(family, ALIVE[family]) == []

    play(ground, script)


@families
def test_a_private_address_for_a_public_name_is_a_portal(ground: Ground, family: Family) -> None:
    async def script(bench: Bench) -> None:
        async with named(bench, ground, family, zone([PRIVATE[family]])):
            with watching(ground.van, "wan0") as (wan0,):
                result = await bench.probe(page(family, NAME))
                assert result.outcome is Outcome.PORTAL
                assert result.detail == f"{NAME} is said to be at {PRIVATE[family]}"
                assert wan0.sent(family, PRIVATE[family]) == []

    play(ground, script)


@families
@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (zone([], dns.rcode.NXDOMAIN), "NXDOMAIN, says "),
        (zone([]), "no address in ipv"),
        (zone([], dns.rcode.SERVFAIL), "SERVFAIL"),
    ],
)
def test_a_name_without_an_address(ground: Ground, family: Family, answer: Datagram, said: str) -> None:
    async def script(bench: Bench) -> None:
        async with named(bench, ground, family, answer):
            result = await bench.probe(page(family, NAME))
            assert result.outcome is Outcome.NAME
            assert said in result.detail

    play(ground, script)


@families
def test_a_mute_name_server_is_passed_over_and_at_last_it_is_the_name(ground: Ground, family: Family) -> None:
    async def script(bench: Bench) -> None:
        async with named(bench, ground, family, zone([OTHER[family]])):
            await bench.probe(page(family, NAME))
            with watching(ground.van, "wan0") as (wan0,):
                bench.resolvers = (NOBODY[family], ALIVE[family])
                bench.probes.start(page(family, NAME))
                await until(bench, lambda: wan0.sent(family, NOBODY[family]) != [])
                await bench.skip(resolve.SERVER_PATIENCE)
                assert (await bench.results.get()).outcome is Outcome.ANSWERED
                bench.resolvers = (NOBODY[family], PROHIBITED[family])
                bench.probes.start(page(family, NAME))
                await until(bench, lambda: wan0.sent(family, NOBODY[family]) != [])
                await bench.skip(resolve.SERVER_PATIENCE)
                result = await bench.results.get()
                assert result.outcome is Outcome.NAME
                assert f"{NOBODY[family]} is silent" in result.detail

    play(ground, script)


@families
@pytest.mark.parametrize("patience", [resolve.SERVER_PATIENCE, http.PATIENCE, PROBE_PATIENCE])
def test_a_name_that_came_while_the_process_stood_still_is_heard(
    ground: Ground, family: Family, patience: float
) -> None:
    """The patience is over at the moment when the answer lies in the socket."""

    async def script(bench: Bench) -> None:
        def stand_still(wire: bytes) -> list[bytes]:
            bench.loop.skipped += patience
            return zone([OTHER[family]])(wire)

        async with named(bench, ground, family, stand_still):
            result = await bench.probe(page(family, NAME))
            assert (result.outcome, result.detail) == (Outcome.ANSWERED, "")

    play(ground, script)


@families
def test_without_a_route_a_name_is_local_too(ground: Ground, family: Family) -> None:
    ground.lose_route("wan0", family)

    async def script(bench: Bench) -> None:
        bench.resolvers = (ALIVE[family],)
        result = await bench.probe(page(family, NAME))
        assert (result.outcome, result.detail) == (Outcome.LOCAL, "No route to host")

    play(ground, script)


@families
def test_a_stub_resolver_on_the_box_is_asked_plainly(
    ground: Ground, family: Family, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It cannot be bound to a device; and resolv.conf is read where the uplink has no server of its own."""
    conf = tmp_path / "resolv.conf"
    conf.write_text("search example.net\nnameserver fe80::1%wan0\nnameserver nonsense\nnameserver 127.0.0.53\n")
    monkeypatch.setattr(resolve, "RESOLV_CONF", conf)

    async def script(bench: Bench) -> None:
        async with (
            udp_server(ground, Family.IPV4, "127.0.0.53", 53, zone([OTHER[family]]), of=ground.van),
            tcp_server(ground, family, OTHER[family], 80, saying(OK)),
        ):
            assert (await bench.probe(page(family, NAME))).outcome is Outcome.ANSWERED
        conf.unlink()
        result = await bench.probe(page(family, NAME))
        assert (result.outcome, result.detail) == (Outcome.NAME, f"{NAME}: no name server in {family}")

    play(ground, script)
