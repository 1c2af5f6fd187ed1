"""With how little the service runs, and that it is enough."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from failover.export.instance import CAPABILITIES
from failover.kernel.clock import wall_clock_trusted
from failover.lab.namespaces import Namespace
from failover.lab.rtnl import RTPROT_DHCP, Route
from failover.lab.wire import End, cable
from failover.lab.world import World
from tests.systemd.conftest import beside, block, edit, routing
from tests.systemd.machine import CHECKOUT, PATIENCE, Machine

NOBODY = 65534
LINKDOWN = "ipv4/conf/{}/ignore_routes_with_linkdown"

INSIDE = """
import asyncio, ctypes, errno, json, mmap, os, socket, sys
from failover.bus import Bus, BusError
from failover.facts import Tap
from failover.kernel import nft
from failover.kernel.clock import wall_clock_trusted
from failover.kernel.counters import Counters
from failover.model import KernelError
from failover.names import children
from failover.radio import RUNNING
from failover.seam import CountFlows

def outcome(step, *arguments):
    try:
        step(*arguments)
    except OSError as error:
        return errno.errorcode[error.errno]
    return "done"

def touch(path):
    open(path, "a").close()

def called(function, *arguments):
    if getattr(ctypes.CDLL(None, use_errno=True), function)(*arguments) < 0:
        raise OSError(ctypes.get_errno(), function)

def flows_counted():
    try:
        nft.load(CountFlows((Tap("inside0"),), 0x3F000000))
        found = "fresh-ipv6-inside0" in Counters().read().counts
        nft.remove()
        return found
    except KernelError as error:
        return str(error)

async def bus():
    try:
        await Bus().call("org.freedesktop.DBus", "/", "org.freedesktop.DBus.Peer.Ping")
    except BusError as error:
        return str(error)

async def child():
    return (await children.run(("cat",), "heard")).said

print(json.dumps({
    "packet socket": outcome(socket.socket, socket.AF_PACKET, socket.SOCK_RAW),
    "raw socket": outcome(socket.socket, socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP),
    "own state": outcome(touch, "/var/lib/failover/probe"),
    "own runtime": outcome(touch, "/run/failover/probe"),
    "/etc/failover": outcome(touch, "/etc/failover/probe"),
    "/opt/failover": outcome(touch, "/opt/failover/probe"),
    "/home": outcome(os.listdir, "/home"),
    "the first process": outcome(os.stat, "/proc/1"),
    "network namespace": outcome(called, "unshare", 0x40000000),
    "writable code": outcome(mmap.mmap, -1, 4096, mmap.MAP_PRIVATE, mmap.PROT_WRITE | mmap.PROT_EXEC),
    "device": outcome(os.stat, "/dev/kmsg"),
    "asking for the clock": outcome(called, "adjtimex", bytes(1024)),
    "clock": wall_clock_trusted(),
    "flows counted": flows_counted(),
    "system bus": asyncio.run(bus()),
    "who runs": any(path.with_name("failover.service").exists() for path in RUNNING),
    "USB devices": outcome(os.listdir, "/sys/devices"),
    "child": asyncio.run(child()),
}), file=sys.stderr)
"""
"""What somebody in the service's place can do."""


def fields(pid: int) -> dict[str, str]:
    """/proc/PID/status."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}


def test_the_process_is_nobody_with_two_capabilities(service: Machine) -> None:
    found = fields(service.pid())
    uid, gid = (service.run("id", option, "failover").stdout.strip() for option in ("--user", "--group"))
    assert found["Uid"].split() == [uid] * 4 != ["0"] * 4
    assert found["Gid"].split() == [gid] * 4
    assert found["Groups"].split() in ([], [gid])
    both = f"{sum(1 << bit for bit in CAPABILITIES.values()):016x}"
    assert {found[f"Cap{kind}"] for kind in ("Inh", "Prm", "Eff", "Bnd", "Amb")} == {both}
    assert found["NoNewPrivs"] == "1"
    assert found["Seccomp"] == "2"
    assert service.shown("OOMScoreAdjust") == "-900"


def test_what_the_sandbox_leaves(service: Machine) -> None:
    assert beside(service, INSIDE) == {
        "packet socket": "EAFNOSUPPORT",
        "raw socket": "done",
        "own state": "done",
        "own runtime": "done",
        "/etc/failover": "EROFS",
        "/opt/failover": "EROFS",
        "/home": "EACCES",
        "the first process": "ENOENT",
        "network namespace": "EPERM",
        "writable code": "EPERM",
        "device": "ENOENT",
        "asking for the clock": "EPERM",
        "clock": False,
        "flows counted": True,
        "system bus": "the system bus cannot be reached at /run/dbus/system_bus_socket: "
        "No such file or directory",  # and not: not allowed
        "who runs": True,
        "USB devices": "done",
        "child": "heard",
    }


def test_detection_is_not_weaker_for_it(service: Machine) -> None:
    status = service.status()
    assert status["flows_counted"] is True
    assert not [text for text in status["warnings"] if "weaker" in text]
    assert "detection is weaker" not in service.run("failover", "status").stdout


def test_systemd_timesyncd_is_believed(service: Machine) -> None:
    word = service.root / "run/systemd/timesync/synchronized"
    word.parent.mkdir(parents=True)
    word.touch()
    try:
        assert beside(service, INSIDE)["clock"] is True
    finally:
        word.unlink()


def test_the_kernel_is_asked_for_the_clock_where_that_is_allowed(service: Machine) -> None:
    edit(service, block("What it is kept from", "ini"))
    found = beside(service, INSIDE)
    assert found["asking for the clock"] == "done"
    assert found["clock"] == wall_clock_trusted()


def test_another_supervisor_may_start_it_too(service: Machine, world: World) -> None:
    service.systemctl("stop", "failover")
    made = routing(world)
    (command,) = re.findall("`(setpriv [^`]*)`", CHECKOUT.joinpath("systemd/README.md").read_text())
    with service.started(*command.split(), "failover", "run") as process:
        assert process.stderr is not None
        for line in process.stderr:
            assert line.startswith("failover: "), line
            if line.startswith("failover: ready: "):
                break
        service.run("sh", "-c", f"kill {service.status()['agent']['pid']}")
        assert process.wait(PATIENCE) == 0
    assert routing(world) == made


def test_the_sysctls_are_set_also_on_a_device_that_comes_later(service: Machine, world: World) -> None:
    def value(name: str) -> str:
        return service.run("cat", f"/proc/sys/net/{LINKDOWN.format(name)}").stdout.strip()

    assert [value(name) for name in ("wwan0", "wwan1", "wlan0")] == ["1"] * 3
    own = f"_PID={service.shown('MainPID')}"
    with Namespace("late") as beyond, service.following() as until:
        here, there = End(world.van, "late0", 90), End(beyond, "late1", 91)
        cable(here, there)
        assert value("late0") == "0"
        there.up()
        here.up()
        world.van.rtnl.add_address(here.index, "10.90.0.2/24")
        world.van.rtnl.add_route(Route("default", here.index, "10.90.0.1", metric=900, protocol=RTPROT_DHCP))
        until(lambda: value("late0") == "1")
        world.van.rtnl.remove_link(here.index)
        until(lambda: any("late0 ipv4 is absent" in line["MESSAGE"] for line in service.journal()))
    service.systemctl("restart", "failover")  # which forgets it
    said = [line["MESSAGE"] for line in service.journal(own, "--priority=warning")]
    assert not [text for text in said if "cannot" in text]


@pytest.mark.parametrize(
    ("groups", "may"),
    [((), ""), (("failover",), "read"), (("failover-admin",), ""), (("failover", "failover-admin"), "write")],
    ids=lambda value: "+".join(value) if isinstance(value, tuple) else None,
)
def test_groups_may_read_and_write(service: Machine, groups: tuple[str, ...], may: str) -> None:
    belong = f"--groups={','.join(groups)}" if groups else "--clear-groups"
    person = ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", belong, "failover")
    read = service.run(*person, "status", check=False)
    write = service.run(*person, "auto", check=False)
    assert (read.returncode == 0, write.returncode == 0) == (may != "", may == "write")
    for refused in (read, write):
        assert refused.returncode == 0 or "be root" in refused.stderr or "run as root or as a member" in refused.stderr
