"""What modems there are now, for who asks once and has no agent: nothing is watched, and nothing asked of a modem."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Final

from failover.bus import DEFAULT_ADDRESS, BusError
from failover.modems.line import Line
from failover.modems.session import Session
from failover.seam import ModemsTold

SECONDS: Final = 5.0
"""At most."""


async def read_once(address: str = DEFAULT_ADDRESS, seconds: float = SECONDS, sys: Path = Path("/sys")) -> ModemsTold:
    """As the agent is told it. BusError."""
    try:
        async with asyncio.timeout(seconds):
            line = await Line.open(address)
            session = Session(line, lambda: None, lambda *_: None, sys)
            try:
                await session.begin()
                return session.told or ModemsTold(managed=False)
            finally:
                await session.close()
                await line.close()
    except TimeoutError as error:
        raise BusError(f"no answer within {seconds:g} s", "does `mmcli -L` answer?") from error
