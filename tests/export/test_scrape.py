"""The server of the metrics as scrapers and probes see it, and under rude clients."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import random
import socket
import threading
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from failover.export import scrape
from failover.export.metrics import Metrics, Picture, Traffic
from failover.export.pulse import STILL, Pulse
from failover.export.scrape import CLIENTS_MAX, HEAD_LIMIT, Health, Prepare, Scrape
from tests.export.pages import at, read
from tests.export.pictures import NOW, snapshot
from tests.export.shortage import complaints


def prepare() -> Callable[[], bytes]:
    picture = Picture(snapshot(), NOW, {"wwan-au": Traffic(11, 22)})
    return lambda: Metrics().render(picture)


@contextlib.asynccontextmanager
async def serving(prepare: Prepare = prepare, health: Health = str) -> AsyncIterator[Scrape]:
    server = Scrape("127.0.0.1:0", prepare, health)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


def run(scene: Callable[[int], Awaitable[None]], prepare: Prepare = prepare, health: Health = str) -> None:
    async def play() -> None:
        async with serving(prepare, health) as server:
            await asyncio.wait_for(scene(server.port), 20)

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
                await Scrape(f"127.0.0.1:{first.port}", lambda: lambda: b"", str).start()

    asyncio.run(play())


# --- pages -----------------------------------------------------------------------------------------------------------


SCRAPE = b"GET /metrics HTTP/1.1\r\n\r\n"


@pytest.mark.parametrize(
    ("accepts", "packed"),
    [
        (b"Accept-Encoding: gzip", True),
        (b"accept-encoding:br;q=1.0, gzip;q=0.8", True),
        (b"Accept-Encoding: gzip;q=0", False),
        (b"Accept-Encoding: gzip ; q=0.0, identity", False),
        (b"Accept-Encoding: gzipped", False),
        (b"Accept: gzip", False),
    ],
)
def test_packs_the_page_for_who_takes_it(accepts: bytes, packed: bool) -> None:
    async def scene(port: int) -> None:
        head, body = await fetch(port, b"GET /metrics HTTP/1.1\r\nHost: x\r\n" + accepts + b"\r\n\r\n")
        assert (b"\r\nContent-Encoding: gzip\r\n" in head) == packed
        assert f"Content-Length: {len(body)}".encode() in head
        page = gzip.decompress(body) if packed else body
        assert at(read(page), "uplink_active", uplink="docomo", family="ipv4") == 1

    run(scene)


class Slow:
    """Pages that are rendered when the test says so."""

    def __init__(self) -> None:
        self.prepared = 0
        self.go = threading.Event()

    def __call__(self) -> Callable[[], bytes]:
        self.prepared += 1
        page = f"# {self.prepared}\n".encode()
        return lambda: page if self.go.wait(10) else b""


def test_the_loop_goes_on_while_a_page_is_rendered() -> None:
    slow = Slow()

    async def scene(port: int) -> None:
        scrape = asyncio.create_task(fetch(port, SCRAPE))
        while not slow.prepared:
            await asyncio.sleep(0)
        head, _ = await fetch(port, b"GET /healthz HTTP/1.1\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 OK")
        assert not scrape.done()
        slow.go.set()
        assert (await scrape)[1] == b"# 1\n"

    run(scene, slow)


def test_who_comes_while_a_page_is_rendered_shares_it() -> None:
    slow = Slow()

    async def scene(port: int) -> None:
        async def leave() -> None:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(SCRAPE)
            await writer.drain()
            while not slow.prepared:
                await asyncio.sleep(0)
            writer.transport.abort()

        await leave()
        scrapes = [asyncio.create_task(fetch(port, SCRAPE)) for _ in range(CLIENTS_MAX - 2)]
        await fetch(port, b"GET /healthz HTTP/1.1\r\n\r\n")  # after them, so they are served by now
        slow.go.set()
        assert {body for _, body in await asyncio.gather(*scrapes)} == {b"# 1\n"}
        assert (await fetch(port, SCRAPE))[1] == b"# 2\n"

    run(scene, slow)


def test_a_client_cut_off_takes_no_page_from_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    slow = Slow()

    async def scene(port: int) -> None:
        monkeypatch.setattr(scrape, "PATIENCE", 0.05)
        hasty = asyncio.create_task(fetch(port, SCRAPE))
        while not slow.prepared:
            await asyncio.sleep(0)
        monkeypatch.setattr(scrape, "PATIENCE", 10.0)
        patient = asyncio.create_task(fetch(port, SCRAPE))
        assert await hasty == (b"", b"")
        slow.go.set()
        assert (await patient)[1] == b"# 1\n"

    run(scene, slow)


# --- health ----------------------------------------------------------------------------------------------------------


def test_health_is_the_agents_word() -> None:
    faults = [""]

    async def scene(port: int) -> None:
        head, body = await fetch(port, b"GET /healthz HTTP/1.1\r\n\r\n")
        assert (head.startswith(b"HTTP/1.1 200 OK\r\n"), body) == (True, b"ok\n")
        faults[0] = "stuck"
        head, body = await fetch(port, b"GET /healthz?verbose HTTP/1.1\r\n\r\n")
        assert (head.startswith(b"HTTP/1.1 503 Service Unavailable\r\n"), body) == (True, b"stuck\n")
        head, body = await fetch(port, b"HEAD /healthz HTTP/1.1\r\n\r\n")
        assert (head.startswith(b"HTTP/1.1 503 Service Unavailable\r\n"), body) == (True, b"")

    run(scene, health=lambda: faults[0])


def test_a_pulse_wants_the_kernel_adopted_and_a_turn_now_and_then() -> None:
    now = [100.0]
    pulse = Pulse(lambda: now[0])
    assert pulse.fault() == "not ready: the kernel's routes are not adopted yet"
    pulse.ready()
    assert pulse.fault() == ""
    now[0] += STILL + 1
    assert pulse.fault() == f"the agent has not kept up with its work for {STILL + 1:.0f} s"
    pulse.turned()
    assert pulse.fault() == ""
    now[0] += STILL
    assert pulse.fault() == ""
