"""What a test without the rights for namespaces comes to: skipped, with the reason."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from failover.lab.namespaces import ForbiddenError


@contextmanager
def or_skip() -> Iterator[None]:
    """Skips the test where the block may make no namespaces."""
    try:
        yield
    except ForbiddenError as error:
        pytest.skip(f"{error} ({error.hint})")
