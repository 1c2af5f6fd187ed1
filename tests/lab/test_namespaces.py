"""Namespaces for root and for ordinary users; the host stays as it was; nothing outlives the lab."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from failover.lab.namespaces import Namespace
from failover.lab.world import World

ROOT = Path(__file__).resolve().parents[2]
NOBODY = 65534
PATHS = os.pathsep.join([str(ROOT), sysconfig.get_path("purelib")])
WORLD = """
import time
from failover.lab.world import World
from failover.lab.reach import udp_echo
from failover.model import FAMILIES
with World() as world:
    print(all(udp_echo(world.van, family, "wwan0") for family in FAMILIES), flush=True)
"""
FORBIDDEN = """
import ctypes, os
from pathlib import Path
from failover.lab.namespaces import LabError, gain_privileges
libc, uid, gid = ctypes.CDLL(None), os.getuid(), os.getgid()
assert libc.unshare(0x10000000) == 0
Path("/proc/self/setgroups").write_text("deny")
Path("/proc/self/uid_map").write_text(f"0 {uid} 1")
Path("/proc/self/gid_map").write_text(f"0 {gid} 1")
Path("/proc/sys/user/max_user_namespaces").write_text("0")
for capability in range(41):
    libc.prctl(24, capability, 0, 0, 0)
header, nothing = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
assert libc.capset(header, nothing) == 0
try:
    gain_privileges()
except LabError as error:
    print(f"{error} | {error.hint}")
"""
HOLDER = """
import os, sys
from failover.lab.namespaces import gain_privileges
from failover.lab.world import World
gain_privileges()
with World() as world:
    sleeper = world.van.popen(["sleep", "600"])
    children = open(f"/proc/self/task/{os.getpid()}/children").read().split()
    print(*children, flush=True)
    sys.stdin.read()
"""


def environment() -> dict[str, str]:
    return {"PYTHONPATH": PATHS, "PYTHONDONTWRITEBYTECODE": "1", "PATH": os.environ["PATH"]}


def python_for(user: int) -> str:
    """An interpreter that this user can start, with this Python's packages; skips when there is none."""
    for candidate in (sys.executable, "/usr/bin/python3"):
        argv = [candidate, "-c", "import dns, failover.model, sys; assert sys.version_info >= (3, 11)"]
        try:
            quiet = subprocess.DEVNULL
            if subprocess.run(argv, check=False, user=user, env=environment(), cwd="/", stderr=quiet).returncode == 0:
                return candidate
        except PermissionError:
            continue
    pytest.skip("no interpreter that another user can start (python3)")


def as_ordinary_user(code: str) -> str:
    """What the code prints when an ordinary user runs it."""
    user = NOBODY if os.geteuid() == 0 else None
    interpreter = sys.executable if user is None else python_for(user)
    done = subprocess.run(
        [interpreter, "-W", "error", "-c", code],
        check=False,
        user=user,
        group=user,
        extra_groups=None if user is None else [],
        env=environment(),
        cwd="/",
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.stderr == ""
    return done.stdout.strip()


def test_an_ordinary_user_builds_a_world() -> None:
    assert as_ordinary_user(WORLD) == "True"


def test_where_it_is_forbidden_one_line_says_what_to_do() -> None:
    said = as_ordinary_user(FORBIDDEN)
    assert said.startswith("cannot make network namespaces as this user: ")
    assert "sudo .venv/bin/failover demo" in said
    assert "sudo sysctl -w user.max_user_namespaces=1000" in said
    assert "\n" not in said


def host() -> dict[str, str]:
    """What must not change: links, routes, rules, sysctls of this process's own namespace."""
    files = ["/proc/net/route", "/proc/net/ipv6_route", "/proc/net/if_inet6", "/proc/net/fib_trie", "/proc/net/packet"]
    sysctls = ["ipv4/ip_forward", "ipv6/conf/all/forwarding", "ipv4/conf/all/rp_filter", "ipv6/conf/all/accept_dad"]
    seen = {path: Path(path).read_text() for path in [*files, *(f"/proc/sys/net/{name}" for name in sysctls)]}
    links = "\n".join(name for _, name in socket.if_nameindex())
    return {**seen, "links": links, "namespace": os.readlink("/proc/thread-self/ns/net")}


def test_the_host_is_untouched_and_nothing_is_left() -> None:
    with Namespace("warm"):
        pass
    before, descriptors = host(), len(os.listdir("/proc/self/fd"))
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    threads = os.listdir("/proc/self/task")
    with World(seed=3) as world:
        assert world.van.name == "van"
        assert host()["links"] == before["links"]
    assert host() == before
    assert len(os.listdir("/proc/self/fd")) == descriptors
    assert os.listdir("/proc/self/task") == threads
    assert Path(f"/proc/self/task/{os.getpid()}/children").read_text().split() == children


def test_entering_ends_even_with_an_error() -> None:
    home = os.readlink("/proc/thread-self/ns/net")
    with Namespace("one") as one, Namespace("two") as two:
        with one.entered():
            inside = os.readlink("/proc/thread-self/ns/net")
            with pytest.raises(KeyError), two.entered():
                raise KeyError
            assert os.readlink("/proc/thread-self/ns/net") == inside != home
        assert os.readlink("/proc/thread-self/ns/net") == home


def test_sockets_stay_where_they_were_made() -> None:
    with Namespace("one") as one, Namespace("two") as two:
        stream = (socket.AF_INET, socket.SOCK_STREAM)
        with one.socket(*stream) as here, two.socket(*stream) as there:
            here.bind(("127.0.0.1", 4711))
            there.bind(("127.0.0.1", 4711))
            here.listen()
            with one.socket(*stream) as client:
                client.connect(("127.0.0.1", 4711))
            with two.socket(*stream) as client, pytest.raises(ConnectionRefusedError):
                client.connect(("127.0.0.1", 4711))


def test_a_sysctl_is_the_namespaces_own() -> None:
    with Namespace("one") as one, Namespace("two") as two:
        one.sysctl("ipv4/ip_forward", 1)
        assert read_in(one, "ipv4/ip_forward") == "1"
        two.sysctl("ipv4/ip_forward", 0)
        assert read_in(one, "ipv4/ip_forward") == "1"


def read_in(namespace: Namespace, name: str) -> str:
    with namespace.entered():
        return Path("/proc/sys/net", name).read_text().strip()


def test_children_run_inside() -> None:
    with Namespace("one") as one:
        code = "import os; print(os.readlink('/proc/self/ns/net'))"
        child = one.popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        said, _ = child.communicate(timeout=20)
        with one.entered():
            assert said.strip() == os.readlink("/proc/thread-self/ns/net")


def test_after_kill_9_of_the_lab_nothing_lives_on() -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER], env=environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with holder:
        assert holder.stdout is not None
        children = [os.pidfd_open(int(pid)) for pid in holder.stdout.readline().split()]
        try:
            assert len(children) >= 5
            holder.send_signal(signal.SIGKILL)
            assert all(select.select([child], [], [], 5.0)[0] for child in children)
        finally:
            for child in children:
                os.close(child)


def test_a_child_finds_the_package_wherever_it_lies() -> None:
    with Namespace("one") as one:
        bare = {"PATH": os.environ["PATH"]}
        child = one.popen([sys.executable, "-c", "import failover.model"], cwd="/", env=bare, stderr=subprocess.DEVNULL)
        assert child.wait(20) == 0
