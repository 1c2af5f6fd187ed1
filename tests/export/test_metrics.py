"""The metrics as a scraper sees them: names, labels, values; and the server under rude clients."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from prometheus_client.parser import text_string_to_metric_families

from failover import __version__
from failover.export import scrape
from failover.export.metrics import NAMES_MAX, Metrics, Picture, Traffic, traffic
from failover.export.scrape import CLIENTS_MAX, HEAD_LIMIT, Scrape
from failover.facts import Operation, OperationResult, Route, Verb
from failover.model import Family, Notice, NoticeKind, Outcome, ProbeKind, ProbeResult, SendProbe, Target
from tests.export.pictures import NOW, snapshot
from tests.export.shortage import complaints

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def read(page: bytes) -> Samples:
    """Every sample of a page by name and labels."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for metric in text_string_to_metric_families(page.decode())
        for sample in metric.samples
    }


def at(samples: Samples, metric: str, /, **labels: str) -> float:
    return samples[f"failover_{metric}", tuple(sorted(labels.items()))]


def picture() -> Picture:
    return Picture(snapshot(), NOW, {"wwan-au": Traffic(11, 22), "eth0": Traffic(33, 44)})


def probe(uplink: str = "au") -> SendProbe:
    return SendProbe(1, uplink, Family.IPV4, "wwan0", 1, Target(ProbeKind.ICMP, "1.1.1.1", url="icmp://1.1.1.1"))


def switch(before: str | None, after: str | None, reason: str) -> Notice:
    return Notice(NoticeKind.SWITCH, "x", {"family": "ipv4", "from": before, "to": after, "reason": reason})


def test_gauges_tell_the_snapshot() -> None:
    samples = read(Metrics().render(picture()))
    assert at(samples, "uplink_verdict", uplink="au", family="ipv4", verdict="doubtful") == 1
    assert at(samples, "uplink_verdict", uplink="au", family="ipv4", verdict="up") == 0
    assert sum(v for (name, _), v in samples.items() if name == "failover_uplink_verdict") == 4
    assert at(samples, "uplink_active", uplink="docomo", family="ipv4") == 1
    assert at(samples, "uplink_active", uplink="au", family="ipv4") == 0
    assert at(samples, "uplink_active", uplink="docomo", family="ipv6") == 0
    assert at(samples, "uplink_info", uplink="au", interface="wwan-au", carrier="KDDI") == 1
    assert at(samples, "uplink_last_proven_seconds", uplink="au", family="ipv4") == 0.5
    assert at(samples, "probe_loss_ratio", uplink="au", family="ipv4", target="icmp://1.1.1.1") == 0.25
    assert at(samples, "uplink_receive_bytes_total", uplink="au") == 11
    assert at(samples, "uplink_transmit_bytes_total", uplink="au") == 22
    assert at(samples, "build_info", version=__version__) == 1


def test_counters_count() -> None:
    metrics = Metrics()
    metrics.probed(probe(), ProbeResult(1, Outcome.ANSWERED, 0.04, sent_bytes=28, received_bytes=28))
    metrics.probed(probe(), ProbeResult(2, Outcome.SILENT, None, sent_bytes=28))
    metrics.noticed(switch("au", "docomo", "doubt"))
    metrics.noticed(switch("docomo", "docomo", "conviction"))
    metrics.noticed(switch(None, "au", "first"))
    metrics.noticed(Notice(NoticeKind.READY, "ready"))
    metrics.switch_applied(0.0004)
    operation = Operation(Verb.REPLACE, Route(Family.IPV4, 15500, 1))
    metrics.operated((OperationResult(operation), OperationResult(operation, "no such device")))
    metrics.reloaded(ok=False)
    samples = read(metrics.render(picture()))
    assert at(samples, "probe_bytes_total", uplink="au") == 84
    assert at(samples, "probe_rtt_seconds_count", uplink="au", family="ipv4") == 1
    assert at(samples, "probe_rtt_seconds_bucket", uplink="au", family="ipv4", le="0.03") == 0
    assert at(samples, "probe_rtt_seconds_bucket", uplink="au", family="ipv4", le="0.05") == 1
    assert at(samples, "switches_total", family="ipv4", **{"from": "au"}, to="docomo", reason="doubt") == 1
    assert at(samples, "switches_total", family="ipv4", **{"from": ""}, to="au", reason="first") == 1
    assert sum(value for (name, _), value in samples.items() if name == "failover_switches_total") == 2
    assert at(samples, "switch_apply_seconds_bucket", le="0.0006") == 1
    assert at(samples, "reconcile_operations_total", operation="replace", result="ok") == 1
    assert at(samples, "reconcile_operations_total", operation="replace", result="error") == 1
    assert at(samples, "config_reload_ok") == 0
    assert not [name for name, _ in samples if name.endswith("_created")]


def test_names_are_bounded() -> None:
    metrics = Metrics()
    for count in range(NAMES_MAX + 10):
        metrics.probed(probe(f"ppp{count}"), ProbeResult(1, Outcome.SILENT, sent_bytes=1))
    samples = read(metrics.render(picture()))
    assert at(samples, "probe_bytes_total", uplink="other") == 10


def test_traffic_of_this_machine() -> None:
    before = traffic()["lo"]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.sendto(bytes(100), ("127.0.0.1", 9))
    after = traffic()["lo"]
    assert after.sent - before.sent >= 128
    assert after.received - before.received >= 128


# --- the server ------------------------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def serving(host: str = "127.0.0.1") -> AsyncIterator[Scrape]:
    metrics = Metrics()
    server = Scrape(f"{host}:0", lambda: lambda: metrics.render(picture()))
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


def run(scene: Callable[[int], Awaitable[None]]) -> None:
    async def play() -> None:
        async with serving() as server:
            await scene(server.port)

    asyncio.run(play())


async def fetch(port: int, request: bytes) -> tuple[bytes, bytes]:
    """Head and body of the answer; both empty where the server closed without one."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    data = b""
    with contextlib.suppress(ConnectionError):
        writer.write(request)
        await writer.drain()
        while chunk := await reader.read(65536):
            data += chunk
    writer.close()
    head, _, body = data.partition(b"\r\n\r\n")
    return head, body


def test_serves_the_page_whole() -> None:
    async def scene(port: int) -> None:
        head, body = await fetch(port, b"GET /metrics HTTP/1.1\r\nHost: x\r\nAccept: */*\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n")
        assert f"Content-Length: {len(body)}".encode() in head
        assert at(read(body), "uplink_active", uplink="docomo", family="ipv4") == 1
        head, body = await fetch(port, b"HEAD /metrics?x=1 HTTP/1.0\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 OK")
        assert body == b""

    run(scene)


@pytest.mark.parametrize(
    ("request_line", "status"),
    [
        (b"GET / HTTP/1.1", b"404 Not Found"),
        (b"POST /metrics HTTP/1.1", b"405 Method Not Allowed"),
        (b"GET /metrics", b"400 Bad Request"),
        (b"\x00", b"400 Bad Request"),
        (b"GET /" + b"x" * 2 * HEAD_LIMIT + b" HTTP/1.1", b"400 Bad Request"),
    ],
    ids=["path", "method", "version", "nonsense", "long"],
)
def test_refuses_what_is_no_scrape(request_line: bytes, status: bytes) -> None:
    async def scene(port: int) -> None:
        head, _ = await fetch(port, request_line + b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 " + status)

    run(scene)


def test_more_clients_than_places_get_none(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene(port: int) -> None:
        held = [await asyncio.open_connection("127.0.0.1", port) for _ in range(CLIENTS_MAX)]
        assert await fetch(port, b"GET /metrics HTTP/1.1\r\n\r\n") == (b"", b"")
        for _, writer in held:
            writer.close()
        while True:
            head, _ = await fetch(port, b"GET /metrics HTTP/1.1\r\n\r\n")
            if head:
                break
        assert head.startswith(b"HTTP/1.1 200 OK")

    run(scene)


def test_without_descriptors_a_complaint_for_each_place_and_then_the_page() -> None:
    async def scene(port: int) -> None:
        with socket.socket() as client:
            times, answer = await complaints(client, ("127.0.0.1", port), b"GET /metrics HTTP/1.1\r\n\r\n")
        assert times <= CLIENTS_MAX
        assert answer.startswith(b"HTTP/1.1 200 OK")

    run(scene)


def test_a_slow_client_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scrape, "PATIENCE", 0.05)

    async def scene(port: int) -> None:
        assert await asyncio.wait_for(fetch(port, b"GET /met"), 5) == (b"", b"")

    run(scene)


def test_stays_whole_under_random_bytes() -> None:
    dice = random.Random(9109)

    async def scene(port: int) -> None:
        for _ in range(100):
            line = bytearray(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
            for _ in range(dice.randrange(1, 6)):
                line[dice.randrange(len(line))] = dice.randrange(256)
            await fetch(port, bytes(line) + b"\r\n\r\n")
        head, _ = await fetch(port, b"GET /metrics HTTP/1.1\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 OK")

    run(scene)


def test_a_port_in_use_is_an_error_to_be_told() -> None:
    async def play() -> None:
        async with serving() as first:
            with pytest.raises(OSError, match="in use"):
                await Scrape(f"127.0.0.1:{first.port}", lambda: lambda: b"").start()

    asyncio.run(play())
