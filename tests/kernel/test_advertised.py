"""Router advertisements, several a second, tell of the same address again and again: that is no news."""

from __future__ import annotations

import select
import shutil
import subprocess
import time

import pytest

from failover.kernel.watch import Dirty, Watch
from failover.lab.world import World


def heard(watch: Watch, datagrams: int, timeout: float = 10.0) -> Dirty:
    """What so many rounds of events come to."""
    dirty, deadline = Dirty.CLEAN, time.monotonic() + timeout
    for _ in range(datagrams):
        ready = select.select([watch], [], [], max(0.0, deadline - time.monotonic()))[0]
        assert ready, "no event came"
        dirty = max(dirty, watch.drain())
    return dirty


@pytest.mark.skipif(shutil.which("ip") is None, reason="needs the Debian package iproute2")
def test_an_address_told_of_again_is_no_change_and_a_new_one_is() -> None:
    with World(seed=1) as world, world.van.entered():
        watch = Watch(own_port=0)
        try:
            assert heard(watch, 1) is Dirty.CHANGED, "the first advertisement is news"
            heard(watch, 1)
            assert heard(watch, 3) is Dirty.CLEAN, "the others are not"
            subprocess.run(["ip", "address", "add", "192.0.2.7/24", "dev", "wlan0"], check=True)
            assert heard(watch, 1) is Dirty.CHANGED
            subprocess.run(["ip", "address", "del", "192.0.2.7/24", "dev", "wlan0"], check=True)
            subprocess.run(["ip", "address", "add", "192.0.2.7/24", "dev", "wlan0"], check=True)
            assert heard(watch, 1) is Dirty.CHANGED, "gone and back is a change"
        finally:
            watch.close()
