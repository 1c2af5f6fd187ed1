"""One world for all tests that only look at it or put back what they changed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from failover.lab.world import World
from tests.allowed import or_skip


@pytest.fixture(scope="package")
def world() -> Iterator[World]:
    """A van that filters nothing, so that each uplink can be looked at without an agent."""
    with or_skip(), World(seed=7, rp_filter=0) as built:
        yield built
