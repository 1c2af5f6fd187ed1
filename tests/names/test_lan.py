"""Clients of the LAN, which ask the box: they follow as well."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

from failover.lab.namespaces import Namespace
from failover.resolvers import Way
from tests.names.box import Box, require
from tests.names.carriers import Carriers
from tests.names.conftest import ADDRESS, Asker, started, until
from tests.names.test_lookups import OWN, Mover, mover

RETRY = 0.3
"""Seconds until a client asks again."""


def check(move: Mover, carriers: Carriers, lan: Namespace) -> None:
    """They are answered by the one carrier, and by the other one within a second."""
    servers = [[one.own] for one in carriers.all]
    move((("up1", servers[0], True), ("up2", servers[1], False)))
    until(lambda: carriers.look_up("before.example", ADDRESS, lan, RETRY) == "192.0.2.1")
    carriers[1].silent = True
    began = time.monotonic()
    move((("up1", servers[0], False), ("up2", servers[1], True)))
    until(lambda: carriers.look_up("after.example", ADDRESS, lan, RETRY) == "192.0.2.2")
    assert time.monotonic() - began < 1.0


def test_by_systemd_resolved(van: Namespace, all_carriers: Carriers, lan: Namespace) -> None:
    all_carriers.forget()
    with started(van, settings=f"DNSStubListenerExtra={ADDRESS}\n") as box, Asker(box) as asker:
        check(lambda wanted: asker.follow(*wanted), all_carriers, lan)


def test_by_dnsmasq(van: Namespace, all_carriers: Carriers, lan: Namespace) -> None:
    if shutil.which("dnsmasq") is None:
        pytest.skip("needs the Debian package dnsmasq-base")
    all_carriers.forget()
    with tempfile.TemporaryDirectory() as folder, Box(van, Path(folder), require("openresolv")) as box:
        argv = [
            "--keep-in-foreground",
            "--conf-file=/dev/null",
            "--pid-file=",
            "--user=root",
            "--no-hosts",
            "--cache-size=0",
        ]
        argv += [f"--resolv-file=/{OWN}", f"--listen-address={ADDRESS}", "--bind-interfaces"]
        with mover(box, Way.FILE) as move:
            box.popen("dnsmasq", *argv, stdout=subprocess.DEVNULL)
            check(move, all_carriers, lan)
