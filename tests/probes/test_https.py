"""HTTPS probes: certificates of a made-up authority, good, stale and somebody else's."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme

from failover.model import Family, Outcome, ProbeKind, ProbeResult, SendProbe

from .ground import ALIVE, OTHER, Bench, Ground, play, send, watching
from .peers import OK, Talk, saying, tcp_server, udp_server, zone

FINE = saying(OK)
NAME = "www.example.com"
NOW = datetime.now(UTC)
DAY = timedelta(days=1)
PAST, FUTURE = (NOW - 800 * DAY, NOW - 700 * DAY), (NOW + 700 * DAY, NOW + 800 * DAY)
families = pytest.mark.parametrize("family", list(Family))
clocks = pytest.mark.parametrize("trusted", [True, False])


@pytest.fixture
def authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> trustme.CA:
    """The only authority that the box trusts."""
    made = trustme.CA()
    file = tmp_path / "authority.pem"
    made.cert_pem.write_to_path(file)
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path / "none"))
    return made


def serving(authority: trustme.CA, name: str, valid: tuple[datetime, datetime] | None = None) -> ssl.SSLContext:
    """A server's side of TLS, with a certificate for that name."""
    first, last = valid or (NOW - DAY, NOW + DAY)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name, not_before=first, not_after=last).configure_cert(context)
    return context


def page(family: Family, host: str = NAME, trusted: bool = True) -> SendProbe:
    return send(family, host, kind=ProbeKind.HTTPS, port=443, path="/", trusted_clock=trusted)


@asynccontextmanager
async def secured(
    bench: Bench, ground: Ground, family: Family, context: ssl.SSLContext | None, talk: Talk = FINE
) -> AsyncIterator[None]:
    """The name leads to a server with that certificate."""
    bench.resolvers = (ALIVE[family],)
    async with (
        udp_server(ground, family, ALIVE[family], 53, zone([OTHER[family]])),
        tcp_server(ground, family, OTHER[family], 443, talk, context),
    ):
        yield


def fetched(ground: Ground, send: SendProbe, context: ssl.SSLContext | None, talk: Talk = FINE) -> ProbeResult:
    """What comes of the probe."""
    results: list[ProbeResult] = []

    async def script(bench: Bench) -> None:
        async with secured(bench, ground, send.family, context, talk):
            results.append(await bench.probe(send))

    play(ground, script)
    return results[0]


@families
@clocks
def test_the_expected_status_behind_a_good_certificate(
    ground: Ground, authority: trustme.CA, family: Family, trusted: bool
) -> None:
    result = fetched(ground, page(family, trusted=trusted), serving(authority, NAME))
    assert (result.outcome, result.detail) == (Outcome.ANSWERED, "")
    assert result.rtt is not None
    assert 0 < result.rtt < 1


@families
def test_the_bytes_of_the_wire(ground: Ground, authority: trustme.CA, family: Family) -> None:
    async def script(bench: Bench) -> None:
        async with secured(bench, ground, family, serving(authority, OTHER[family])):
            with watching(ground.van, "wan0") as (wan0,):
                result = await bench.probe(page(family, OTHER[family]))
                seen = wan0.packets(family, OTHER[family])
        assert result.outcome is Outcome.ANSWERED
        assert result.sent_bytes == sum(len(packet) for outgoing, packet in seen if outgoing)
        assert result.received_bytes == sum(len(packet) for outgoing, packet in seen if not outgoing)

    play(ground, script)


@pytest.mark.parametrize(("valid", "said"), [(PAST, "certificate has expired"), (FUTURE, "not yet valid")])
def test_a_certificate_out_of_date(
    ground: Ground, authority: trustme.CA, valid: tuple[datetime, datetime], said: str
) -> None:
    family = Family.IPV4
    judged = fetched(ground, page(family), serving(authority, NAME, valid))
    assert judged.outcome is Outcome.PORTAL
    assert said in judged.detail
    unsure = fetched(ground, page(family, trusted=False), serving(authority, NAME, valid))
    assert unsure.outcome is Outcome.CLOCK
    assert str(valid[0].year) in unsure.detail
    assert unsure.rtt is not None


@clocks
@pytest.mark.parametrize("valid", [None, PAST])
def test_somebody_elses_certificate_is_a_portal_whatever_the_clock(
    ground: Ground, authority: trustme.CA, trusted: bool, valid: tuple[datetime, datetime] | None
) -> None:
    other_name = fetched(ground, page(Family.IPV4, trusted=trusted), serving(authority, "portal.example.net", valid))
    assert (other_name.outcome, other_name.detail[:12]) == (Outcome.PORTAL, "certificate:")
    other_authority = fetched(ground, page(Family.IPV4, trusted=trusted), serving(trustme.CA(), NAME, valid))
    assert (other_authority.outcome, other_authority.detail[:12]) == (Outcome.PORTAL, "certificate:")


@clocks
def test_the_wrong_status_is_a_portal_also_behind_a_stale_certificate(
    ground: Ground, authority: trustme.CA, trusted: bool
) -> None:
    talk = saying(b"HTTP/1.1 302 Found\r\nLocation: /pay\r\n\r\n")
    valid = None if trusted else PAST
    result = fetched(ground, page(Family.IPV4, trusted=trusted), serving(authority, NAME, valid), talk)
    assert (result.outcome, result.detail) == (Outcome.PORTAL, "status 302 to /pay")


def test_plain_http_on_the_tls_port_is_a_portal(ground: Ground, authority: trustme.CA) -> None:
    async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await reader.read()

    result = fetched(ground, page(Family.IPV4), None, plain)
    assert result.outcome is Outcome.PORTAL
    assert result.detail.startswith("no TLS: ")


@pytest.mark.parametrize("secure", [True, False])
def test_a_server_that_hangs_up_says_nothing(ground: Ground, authority: trustme.CA, secure: bool) -> None:
    """During the handshake, or after the request."""

    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)

    result = fetched(ground, page(Family.IPV4), serving(authority, NAME) if secure else None, hang_up)
    assert result.outcome is Outcome.SILENT
    assert result.detail.startswith("hung up before a status: ")
