"""One world for all tests that only look at it or put back what they changed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from failover.lab.namespaces import ForbiddenError
from failover.lab.world import World


@pytest.fixture(scope="package")
def world() -> Iterator[World]:
    """A van that filters nothing, so that each uplink can be looked at without an agent."""
    try:
        built = World(seed=7, rp_filter=0).__enter__()
    except ForbiddenError as error:
        pytest.skip(f"{error} ({error.hint})")
    try:
        yield built
    finally:
        built.__exit__()
