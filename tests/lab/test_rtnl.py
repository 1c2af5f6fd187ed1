"""Requests stay in the namespace they are meant for, and a refused one says what it was."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from failover.lab.namespaces import Namespace
from failover.lab.rtnl import Route, Rtnl, Rule

HELPERS = "import sys, failover.lab.link, failover.lab.servers, failover.lab.chatter, failover.lab.traffic"


def has(namespace: Namespace, address: str) -> bool:
    with namespace.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((address, 0))
        except OSError:
            return False
        return True


def elsewhere(one: Namespace, two: Namespace) -> None:
    """Ask one for an address, while in two."""
    with two.entered():
        one.rtnl.add_address(1, "192.0.2.1/32")


def test_a_request_goes_home_wherever_the_thread_is() -> None:
    with Namespace("one") as one, Namespace("two") as two:
        elsewhere(one, two)
        assert (has(one, "192.0.2.1"), has(two, "192.0.2.1")) == (True, False)
        one.rtnl.remove_address(1, "192.0.2.1/32")
        assert not has(one, "192.0.2.1")


def test_another_threads_request_goes_home_too_and_leaves_nothing_open() -> None:
    with Namespace("warm"):
        pass
    before = os.listdir("/proc/self/fd")
    with Namespace("one") as one, Namespace("two") as two:
        with ThreadPoolExecutor(1) as pool:
            pool.submit(elsewhere, one, two).result()
            with pytest.raises(OSError, match="No such device"):
                pool.submit(one.rtnl.link_up, 77).result()
        assert (has(one, "192.0.2.1"), has(two, "192.0.2.1")) == (True, False)
    assert os.listdir("/proc/self/fd") == before


REFUSED: list[tuple[Callable[[Rtnl], None], int, str]] = [
    (lambda rtnl: rtnl.link_up(77), errno.ENODEV, "link set index 77 state up"),
    (lambda rtnl: rtnl.add_address(77, "192.0.2.1/32"), errno.ENODEV, "addr replace .*192.0.2.1/32"),
    (lambda rtnl: rtnl.add_route(Route("default", 77, "192.0.2.1")), errno.ENETUNREACH, "gateway 192.0.2.1"),
    (lambda rtnl: rtnl.remove_rule(Rule(77, table=77)), errno.ENOENT, r"rule del priority 77 .* table 77\)"),
]


@pytest.mark.parametrize(("ask", "number", "words"), REFUSED)
def test_what_is_refused_says_what_was_asked(ask: Callable[[Rtnl], None], number: int, words: str) -> None:
    with Namespace("one") as one:
        with pytest.raises(OSError, match=words) as refused:
            ask(one.rtnl)
        assert refused.value.errno == number


def test_the_helpers_start_without_the_library_that_builds() -> None:
    argv = [sys.executable, "-c", f"{HELPERS}; print('pyroute2' in sys.modules)"]
    assert subprocess.run(argv, capture_output=True, text=True, check=True).stdout == "False\n"
