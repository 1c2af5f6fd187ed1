"""What the agent makes of the machine's sleep and of the wall clock."""

from __future__ import annotations

import contextlib
import ctypes
import signal
import socket
import ssl
import struct
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme

from failover.kernel.clock import slept, wall_clock_trusted
from failover.lab.namespaces import Namespace
from failover.lab.places import NAMES
from failover.lab.world import World
from failover.model import Family
from tests.agent.running import PATIENCE, facts, ours, running

SLEEPER = """
import signal, sys, time
asleep = 0.0
def sleep(*_):
    global asleep
    asleep += 7200.0
signal.signal(signal.SIGUSR1, sleep)
real = time.clock_gettime
time.clock_gettime = lambda clock: real(clock) + (asleep if clock == time.CLOCK_BOOTTIME else 0.0)
from failover.cli import main
sys.exit(main(sys.argv[1:]))
"""
"""An agent on a machine that was suspended for two hours whenever SIGUSR1 comes."""
CLOCK = """
import ctypes, sys
status = int(sys.argv.pop(1))
class Library(ctypes.CDLL):
    def adjtimex(self, timex):
        timex._obj.status = status
        return 0
ctypes.CDLL = Library
from failover.cli import main
sys.exit(main(sys.argv[1:]))
"""
"""An agent whose C library says this of the wall clock."""
STA_UNSYNC = 0x40
"""linux/timex.h."""
WEB = NAMES["example.com"][Family.IPV4]


def test_two_hours_of_sleep_are_noticed_once_and_convict_nobody(van: Namespace, tmp_path: Path) -> None:
    with running(van, tmp_path, command=(sys.executable, "-c", SLEEPER)) as agent:
        agent.ready().all_up()
        made = ours(van)
        for name in ("wwan0", "wwan1", "wlan0"):
            agent.said(f"{name} ipv6 is up")
        start = len(agent.lines)
        agent.process.send_signal(signal.SIGUSR1)
        assert "the machine slept for 7200 s" in agent.said("failover: warning: ", start)
        agent.all_up()
        lines = agent.lines[start:]
        assert sum(line.startswith("failover: warning: ") for line in lines) == 1
        assert not [line for line in lines if "switch" in line or "down" in line]
        assert ours(van) == made
        assert facts(van).links
        start = len(agent.lines)
        agent.process.send_signal(signal.SIGUSR1)
        assert "the machine slept for 7200 s" in agent.said("failover: warning: ", start)


def test_the_clocks_of_this_machine() -> None:
    assert slept() > -0.01
    timex = ctypes.create_string_buffer(512)  # modes 0: only read
    assert ctypes.CDLL(None).adjtimex(timex) >= 0
    *_, status = struct.unpack_from("@I4li", timex)
    assert wall_clock_trusted() is not bool(status & STA_UNSYNC)


def test_two_years_back_and_not_set_by_anybody_the_clock_costs_no_uplink(
    van: Namespace, tmp_path: Path, https_of_the_future: Https
) -> None:
    """A cold boot without a battery: by such a clock every certificate is yet to become valid."""
    with running(van, tmp_path, "--config", str(https_of_the_future.config), command=machine(STA_UNSYNC)) as agent:
        agent.ready().said("au ipv4 is up: ")
        assert not [line for line in agent.lines if "portal" in line]
    assert https_of_the_future.served >= 1


def test_by_a_clock_that_is_kept_right_a_certificate_of_the_future_is_a_portals(
    van: Namespace, tmp_path: Path, https_of_the_future: Https
) -> None:
    """The agent tells its probes what the kernel says of the clock."""
    with running(van, tmp_path, "--config", str(https_of_the_future.config), command=machine(0)) as agent:
        agent.ready().said("au ipv4 is portal: ")
        assert not [line for line in agent.lines if "is up" in line]
    assert https_of_the_future.served == 0


def machine(status: int) -> tuple[str, ...]:
    """An agent on a machine whose adjtimex(2) has this in its status, and STA_UNSYNC or not."""
    return sys.executable, "-c", CLOCK, str(status)


class Https:
    """A server of the lab's internet, with a certificate that is valid from two years ahead."""

    def __init__(self, internet: Namespace, home: Path) -> None:
        self.served = 0
        self.config = home / "failover.yaml"
        targets = f"probes: {{targets: ['https://{WEB}/']}}\n"
        self.config.write_text(f"uplinks: [{{name: au, interface: wwan0}}]\n{targets}")
        first = datetime.now(UTC) + timedelta(days=730)
        authority = trustme.CA()
        authority.cert_pem.write_to_path(home / "authority.pem")
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        issued = authority.issue_cert(WEB, not_before=first, not_after=first + timedelta(days=90))
        issued.configure_cert(self._context)
        self._listener = internet.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._listener.bind((WEB, 443))
        self._listener.listen()
        self._thread = threading.Thread(target=self._serve, name="https")

    def __enter__(self) -> Https:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:  # shut down
                return
            with client, contextlib.suppress(OSError):  # ssl.SSLError is one: the agent does not go on
                client.settimeout(PATIENCE)
                with self._context.wrap_socket(client, server_side=True) as secure:
                    if secure.recv(65536):
                        secure.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")
                        self.served += 1


@pytest.fixture
def https_of_the_future(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Https]:
    """The agent trusts its authority, and no other."""
    with Https(world.ground.internet, tmp_path) as server:
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority.pem"))
        monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path / "none"))
        yield server
