"""The ground of the probe tests, one per test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from failover.lab.namespaces import gain_privileges
from tests.allowed import or_skip

from .ground import Ground


@pytest.fixture
def ground() -> Iterator[Ground]:
    """A van with two uplinks and a world, in namespaces of their own."""
    with or_skip():
        gain_privileges()
    built = Ground()
    try:
        yield built
    finally:
        built.close()
