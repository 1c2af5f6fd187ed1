"""Load on a link, measured with small packets beside it and by the link's own counts."""

from __future__ import annotations

import select
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator

import pytest

from failover.lab import load
from failover.lab.load import Load
from failover.lab.namespaces import LabError, Namespace
from failover.lab.places import APP, DEAD_SERVER, DISCARD_PORT, SOURCE_PORT
from failover.lab.reach import AF, udp_echo
from failover.lab.world import World
from failover.model import FAMILIES, Family

ETH_P_ALL = 3
PATIENCE = 5.0
HEALTHY = 0.06


@pytest.fixture(autouse=True)
def _drained(world: World) -> Iterator[None]:
    """What a test leaves inside the link is gone before the next."""
    yield
    for family in FAMILIES:
        assert quiet(world, family)


def quiet(world: World, family: Family) -> bool:
    """Whether round trips become healthy within PATIENCE."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        seconds = udp_echo(world.van, family, "wwan0", PATIENCE)
        if seconds is not None and seconds < HEALTHY:
            return True
    return False


def passed(world: World, direction: str, family: Family, count: str = "passed") -> int:
    """Packets of au's lane so far."""
    (lane,) = [
        lane
        for lane in world.link.ask({"stats": True})["stats"]
        if (lane["carrier"], lane["direction"], lane["family"]) == ("au", direction, family)
    ]
    return int(lane[count])


def let_pass(world: World, seconds: float) -> float:
    """Packets of another carrier's come and go meanwhile; how long it took."""
    began = time.monotonic()
    while time.monotonic() - began < seconds:
        assert udp_echo(world.van, Family.IPV4, "wwan1") is not None
    return time.monotonic() - began


def test_an_own_upload_fills_the_queue(world: World) -> None:
    """Eight cubic flows through 5 Mbit/s: small packets of both families wait for over a second, and two at most."""
    lost = passed(world, "up", Family.IPV4, "dropped")
    slowest = dict.fromkeys(FAMILIES, 0.0)
    with load.bottleneck(world, "au") as began, load.upload(world) as upload:
        while time.monotonic() - began < 40.0 and (
            min(slowest.values()) < 1.0 or passed(world, "up", Family.IPV4, "dropped") == lost
        ):
            for family in FAMILIES:
                seconds = udp_echo(world.van, family, "wwan0", PATIENCE)
                slowest[family] = max(slowest[family], seconds or 0.0)
        took, carried = time.monotonic() - began, upload.carried()
    assert 1.0 < slowest[Family.IPV4] < 2.2
    assert 1.0 < slowest[Family.IPV6] < 2.2
    assert passed(world, "up", Family.IPV4, "dropped") > lost
    assert carried.opened == 8
    assert 0.6 < carried.bytes / (took * 625_000.0) < 1.0


def uploads(van: Namespace) -> str:
    """What ss tells of the van's connections to the server that takes everything, whatever their state."""
    with van.entered():
        argv = ["ss", "--tcp", "--all", "--info", "--no-header", "--numeric", "dport", "=", f":{DISCARD_PORT}"]
        return subprocess.run(argv, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize(("family", "congestion"), [(Family.IPV4, "cubic"), (Family.IPV6, "reno")])
def test_an_upload_has_the_congestion_control_that_is_asked_for(
    world: World, family: Family, congestion: str
) -> None:
    """And leaves nothing behind that the kernel would go on sending."""
    if shutil.which("ss") is None:
        pytest.skip("needs the Debian package iproute2")
    with load.bottleneck(world, "au"):
        with load.upload(world, family, 3, congestion) as upload:
            while upload.carried().opened < 3:
                assert udp_echo(world.van, family, "wwan0", PATIENCE) is not None
            assert uploads(world.van).count(f" {congestion} ") == 3
        assert uploads(world.van) == ""


@pytest.mark.parametrize("kind", ["upload", "download"])
def test_an_unknown_congestion_control_is_said(world: World, kind: str) -> None:
    with pytest.raises(LabError, match="no congestion control lightspeed"):
        Load(world.van, kind, Family.IPV4, 1, 1000.0, "lightspeed")


@pytest.mark.parametrize("family", FAMILIES)
def test_a_download_comes_at_its_pace_and_disturbs_nobody(world: World, family: Family) -> None:
    with load.download(world, family) as download:
        while download.carried().bytes < 500_000:
            assert udp_echo(world.van, family, "wwan0") is not None
        began, before = time.monotonic(), download.carried().bytes
        times = [udp_echo(world.van, family, "wwan0") for _ in range(30)]
        rate = (download.carried().bytes - before) / (time.monotonic() - began)
    assert rate == pytest.approx(2_500_000, rel=0.15)
    assert sorted(seconds or PATIENCE for seconds in times)[15] < HEALTHY


def test_a_broken_connection_is_made_anew() -> None:
    with Namespace("server") as alone:
        alone.rtnl.add_address(1, f"{APP[Family.IPV4]}/32")
        with alone.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
            listener.bind((APP[Family.IPV4], SOURCE_PORT))
            listener.listen()
            listener.settimeout(PATIENCE)
            with Load(alone, "download", Family.IPV4, 1, 1000.0, "reno") as download:
                for number in (1, 2, 3):
                    with listener.accept()[0] as served:
                        assert served.recv(64) == b"1000 reno\n"
                        served.sendall(b"enough")
                    assert download.carried().opened == number


@pytest.mark.parametrize("family", FAMILIES)
def test_datagrams_go_one_way(world: World, family: Family) -> None:
    answered = passed(world, "down", family)
    with load.datagrams(world, family) as datagrams:
        before = passed(world, "up", family)
        seconds = let_pass(world, 1.0)
        sent = passed(world, "up", family) - before
        assert datagrams.carried().bytes >= 200 * sent
    assert sent == pytest.approx(50 * seconds, rel=0.15)
    assert passed(world, "down", family) == answered


@pytest.mark.parametrize("family", FAMILIES)
def test_a_dead_server_is_tried_again_and_again(world: World, family: Family) -> None:
    """Each time from another port, and never answered."""
    target = socket.inet_pton(AF[family], DEAD_SERVER[family])
    ports: set[bytes] = set()
    answered = passed(world, "down", family)
    with world.van.socket(socket.AF_PACKET, socket.SOCK_RAW) as wire:
        wire.bind(("wwan0", ETH_P_ALL))
        began = time.monotonic()
        with load.retries(world, family) as retries:
            while len(ports) < 3:
                assert select.select([wire], [], [], PATIENCE)[0]
                packet = wire.recv(2048)[14:]
                start = 20 if family is Family.IPV4 else 40
                if packet[start - len(target) : start] == target:
                    ports.add(packet[start : start + 2])
            assert retries.carried().opened in (3, 4)
    assert 1.9 < time.monotonic() - began < PATIENCE
    assert passed(world, "down", family) == answered
