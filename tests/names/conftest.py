"""One box with the real systemd-resolved for all tests of it; each begins with links that nobody said anything of."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from failover.bus import Bus
from failover.lab.namespaces import Namespace
from failover.lab.wire import End, cable
from failover.names.record import RECORD
from failover.resolvers import Way
from tests.allowed import or_skip
from tests.enclosure import PATIENCE
from tests.names.box import USERS, Box, require, shipped_rule
from tests.names.carriers import Carriers
from tests.names.standin import CONFIG

NOTED = f"run/failover/{RECORD}"
REFUSED = ("org.freedesktop.DBus.Error.AccessDenied", "org.freedesktop.DBus.Error.InteractiveAuthorizationRequired")
RESOLVE = ("org.freedesktop.resolve1", "/org/freedesktop/resolve1")


ADDRESS = "192.168.9.1"
"""Of the box, in its LAN."""


class Asker:
    """What the agent does, done by a process in the box, of user `failover` for one."""

    def __init__(self, box: Box, user: str = "failover", way: Way = Way.RESOLVED) -> None:
        self._box = box
        script = str(Path(__file__).with_name("asker.py"))
        argv = [sys.executable, script, str(USERS[user]), way]
        self._process = box.popen(*argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def follow(self, *wanted: tuple[str, list[str], bool] | tuple[str, list[str], bool, bool]) -> list[str]:
        """What was changed."""
        answer = self.ask(do="follow", wanted=wanted)
        assert "done" in answer, (answer, self._box.log())
        done: list[str] = answer["done"]
        return done

    def ask(self, **order: object) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, self._box.log()
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        self._process.communicate(timeout=PATIENCE)

    def __enter__(self) -> Asker:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def until(condition: Callable[[], object]) -> None:
    """Look, again and again, until it is so."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline


class Administrator:
    """root, as NetworkManager is, or whoever types resolvectl."""

    def __init__(self, box: Box) -> None:
        self._address = box.address

    def manager(self, member: str, signature: str, *body: object) -> None:
        """A method of systemd-resolved's manager."""
        self._do(lambda bus: bus.call(*RESOLVE, f"{RESOLVE[0]}.Manager.{member}", signature, body))

    def link(self, index: int) -> dict[str, Any]:
        """What systemd-resolved has of a link."""

        async def read(bus: Bus) -> dict[str, Any]:
            (path,) = await bus.call(*RESOLVE, f"{RESOLVE[0]}.Manager.GetLink", "i", [index], "o")
            return await bus.get_all(RESOLVE[0], path, f"{RESOLVE[0]}.Link")

        found = self._do(read)
        return {key: found[key].value for key in ("DNS", "Domains", "DefaultRoute")}

    def await_name(self, name: str) -> None:
        """Until somebody owns it on the bus."""
        daemon = ("org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus.NameHasOwner")
        until(lambda: self._do(lambda bus: bus.call(*daemon, "s", [name], "b")) == [True])

    def await_servers(self, index: int) -> None:
        """Until the link has some."""
        until(lambda: self.link(index)["DNS"])

    def _do(self, doing: Any) -> Any:
        async def run() -> Any:
            bus = Bus(self._address)
            try:
                return await doing(bus)
            finally:
                await bus.close()

        return asyncio.run(run())


@pytest.fixture(scope="package")
def van() -> Iterator[Namespace]:
    with or_skip(), Namespace("box") as made:
        yield made


@contextmanager
def clients(van: Namespace) -> Iterator[Namespace]:
    """The LAN's."""
    with Namespace("lan") as made:
        here, there = End(van, "lan0", 50), End(made, "eth0", 51)
        cable(here, there)
        for end, address in ((here, ADDRESS), (there, "192.168.9.2")):
            end.up()
            end.namespace.rtnl.add_address(end.index, f"{address}/24")
        yield made
        van.rtnl.remove_link(here.index)


@pytest.fixture(scope="module")
def lan(van: Namespace) -> Iterator[Namespace]:
    with clients(van) as made:
        yield made


@pytest.fixture(scope="package")
def all_carriers(van: Namespace) -> Iterator[Carriers]:
    made = Carriers(van, (1, 2))
    yield made
    made.close()


@contextmanager
def started(van: Namespace, rule: str | None = None, polkit: bool = True, settings: str = "") -> Iterator[Box]:
    """A box with systemd-resolved, polkitd, and the shipped rule or another one. `settings`: more of resolved.conf."""
    package = require("systemd-resolved")
    with tempfile.TemporaryDirectory() as folder, Box(van, Path(folder), package) as made:
        shipped_rule(made.root, rule)
        with (made.root / "etc/systemd/resolved.conf").open("a") as file:
            file.write(settings)
        if polkit:
            made.start_polkitd()
            Administrator(made).await_name("org.freedesktop.PolicyKit1")
        made.resolved = made.serve("/usr/lib/systemd/systemd-resolved")
        Administrator(made).await_name(RESOLVE[0])
        yield made


@pytest.fixture(scope="package")
def box(van: Namespace, all_carriers: Carriers) -> Iterator[Box]:
    with started(van) as made:
        yield made


@pytest.fixture(scope="package")
def one_asker(box: Box) -> Iterator[Asker]:
    made = Asker(box)
    yield made
    made.close()


@pytest.fixture
def root(box: Box) -> Administrator:
    return Administrator(box)


@pytest.fixture
def carriers(all_carriers: Carriers, root: Administrator) -> Carriers:
    """Of their links nobody has said anything yet."""
    for carrier in all_carriers.all:
        root.manager("RevertLink", "i", carrier.here.index)
    root.manager("FlushCaches", "")
    all_carriers.forget()
    return all_carriers


@pytest.fixture
def asker(one_asker: Asker, box: Box, carriers: Carriers) -> Asker:
    """It has changed nothing yet."""
    (box.root / NOTED).unlink(missing_ok=True)
    return one_asker


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    """A bus on which anybody may be anybody."""
    if shutil.which("dbus-daemon") is None:
        pytest.skip("needs the Debian package dbus")
    config = tmp_path / "bus.conf"
    config.write_text(CONFIG.format(path=tmp_path / "bus"))
    argv = ["dbus-daemon", f"--config-file={config}", "--nofork", "--nopidfile", "--print-address"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as daemon:
        assert daemon.stdout is not None
        assert daemon.stdout.readline()
        yield f"unix:path={tmp_path / 'bus'}"
        daemon.terminate()
