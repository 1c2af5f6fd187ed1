"""The box of the kernel tests, one per test, a Kernel in it, and traffic through it that is counted."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from failover.kernel import Kernel, Ledger
from failover.lab.namespaces import gain_privileges
from tests.allowed import or_skip

from .box import Box
from .flows import Place
from .road import Counted, Road, need_nft


@pytest.fixture
def box() -> Iterator[Box]:
    """A van and a far end, in namespaces of their own."""
    if shutil.which("ip") is None:
        pytest.skip("needs the Debian package iproute2")
    with or_skip():
        gain_privileges()
    built = Box()
    try:
        yield built
    finally:
        built.close()


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "sysctls.json")


@pytest.fixture
def kernel(box: Box, ledger: Ledger) -> Iterator[Kernel]:
    """One whose namespace is the van's; this thread is in it for the whole test."""
    with box.van.entered():
        opened = Kernel(ledger)
        try:
            box.settled(opened)
            yield opened
        finally:
            opened.close()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """One for a whole file."""
    if shutil.which("ip") is None:
        pytest.skip("needs the Debian package iproute2")
    with or_skip():
        gain_privileges()
    box = Box()
    with closing(box):
        with box.van.entered(), closing(Kernel(Ledger(tmp_path_factory.mktemp("state") / "sysctls.json"))) as opened:
            box.settled(opened)
        with closing(Place(box)) as built:
            yield built


@pytest.fixture
def held(place: Place) -> Iterator[ExitStack]:
    """What it holds is closed; this thread is in the place's van for the whole test."""
    with place.box.van.entered(), ExitStack() as stack:
        yield stack


@pytest.fixture
def road(box: Box) -> Iterator[Road]:
    need_nft()
    with closing(Road(box)) as built:
        yield built


@pytest.fixture
def counted(road: Road) -> Iterator[Counted]:
    made = Counted(road)
    with closing(made.counters):
        yield made
