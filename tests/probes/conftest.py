"""The ground of the probe tests, one per test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from failover.lab.namespaces import LabError, gain_privileges

from .ground import Ground


@pytest.fixture
def ground() -> Iterator[Ground]:
    """A van with two uplinks and a world, in namespaces of their own."""
    try:
        gain_privileges()
    except LabError as error:
        pytest.skip(str(error))
    built = Ground()
    try:
        yield built
    finally:
        built.close()
