"""The box of the kernel tests as a patient, one per test."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.doctor.patient import Patient
from tests.kernel.box import Box
from tests.kernel.conftest import box

__all__ = ["box"]


@pytest.fixture
def patient(box: Box, tmp_path: Path) -> Patient:
    return Patient(box, tmp_path)
