"""That modems are watched where there are some to be expected, and nothing is begun elsewhere."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from failover.config import Config, Uplink
from failover.config.modems import Modem
from failover.export.messages import NAME
from failover.model import ControlError
from failover.radio import Ears, Radio
from failover.seam import ModemsTold, OfModems

MODEM = Config(uplinks=(Uplink(name="au", modem=Modem(imei="356938035640011")),))
LINK = Config(uplinks=(Uplink(name="wan", interface="eth0"),))
NOBODY = ModemsTold(managed=False)


def listens() -> bool:
    return any(thread.name == "modems" for thread in threading.enumerate())


def live(folder: Path, config: Config, body: Callable[[Radio], None]) -> tuple[list[OfModems], int]:
    """What it tells of a bus that is not there, once something is told if it has begun, and how many warnings."""
    told: list[OfModems] = []

    async def play() -> int:
        heard = asyncio.Event()

        def put(event: OfModems) -> None:
            told.append(event)
            heard.set()

        ears = Ears(put, lambda _: None, lambda _: None, lambda: (), lambda: True, lambda _, __: None)
        radio = Radio(folder, config, ears, f"unix:path={folder}/no-bus", (folder / "absent", folder / "running"))
        body(radio)
        if listens():
            await asyncio.wait_for(heard.wait(), 20.0)
        warnings = len(radio.warnings)
        await radio.close()
        return warnings

    warnings = asyncio.run(play())
    assert not listens()
    return told, warnings


@pytest.mark.parametrize(("config", "running", "told", "warnings"), [
    (LINK, False, [], 0),
    (Config(), False, [], 0),
    (LINK, True, [NOBODY], 0),
    (MODEM, False, [NOBODY], 1),
])  # fmt: skip
def test_it_begins_where_a_modem_is_configured_or_modemmanager_runs(
    tmp_path: Path, config: Config, running: bool, told: list[OfModems], warnings: int
) -> None:
    """Nor does anybody hear what is amiss with modems that no config names."""
    if running:
        (tmp_path / "running").touch()
    assert live(tmp_path, config, Radio.look) == (told, warnings)


def test_a_config_that_names_the_first_modem_begins_it(tmp_path: Path) -> None:
    assert live(tmp_path, LINK, lambda radio: radio.follow(MODEM)) == ([NOBODY], 1)


def test_messages_that_cannot_be_kept_are_a_warning_whatever_the_config_names(tmp_path: Path) -> None:
    (tmp_path / NAME).mkdir()

    async def play() -> None:
        ears = Ears(*(lambda *_: None,) * 3, lambda: (), lambda: True, lambda _, __: None)
        radio = Radio(tmp_path, LINK, ears, f"unix:path={tmp_path}/no-bus", ())
        with pytest.raises(ControlError):
            await radio.inbox.recent(1)
        (warning,) = radio.warnings
        assert warning.startswith(f"messages are not kept, and stay on their SIMs: {NAME}: Not a regular file")
        await radio.close()

    asyncio.run(play())
