"""The profiles of an eSIM: `lpac` tells them and switches them, while ModemManager keeps its hands off the modem.

ModemManager has no word for profiles. lpac speaks with the card through the modem's own port, as a child by argv, for
a bounded time and with a bounded answer. The inhibition is ours as long as our connection lives: whatever becomes of
lpac or of us, ModemManager has the modem back (InhibitDevice of its D-Bus API).
"""

from __future__ import annotations

import asyncio
import json
import os
import selectors
import shutil
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, Final

from failover.bus import BusError
from failover.model import FailoverError, clean
from failover.modem import Modem, Sim
from failover.modems.line import Line
from failover.modems.numbers import MODEM, ROOT, SERVICE
from failover.modems.values import digits, told, word

PROGRAM: Final = "lpac"
INSTALL: Final = "put it in PATH: https://github.com/estkme-group/lpac"
SECONDS: Final = 60.0
"""For one run of it; a card takes 2-10 s for a switch, and a serial port is slow."""
ANSWER_MAX: Final = 1 << 20
"""Bytes: each profile may come with its icon, of a few thousand."""
PROFILES_MAX: Final = 64
INHIBITING: Final = 30.0
"""Seconds in which ModemManager lets go of the modem, its connection and all."""
PORTS: Final[tuple[tuple[int, str], ...]] = ((7, "mbim"), (6, "qmi"), (3, "at"))
"""MMModemPortType, the best first, and what lpac calls the way there."""


class EsimError(FailoverError):
    """It cannot be read or switched."""


@dataclass(frozen=True, slots=True)
class Card:
    """Where an eSIM is."""

    slot: int
    device: str
    """What ModemManager inhibits."""
    way: str
    """`mbim`, `qmi` or `at`."""
    port: str
    """As `/dev/cdc-wdm0`."""

    @property
    def environment(self) -> dict[str, str]:
        """What tells lpac of it, by the names of its 2.3 and of those before."""
        way, slot = self.way.upper(), str(self.slot)
        names = {f"LPAC_APDU_{way}_DEVICE": self.port, f"{way}_DEVICE": self.port, "UIM_SLOT": slot}
        shared = {"LPAC_APDU_MBIM_USE_PROXY": "1", "MBIM_USE_PROXY": "1"} if self.way == "mbim" else {}
        return {"LPAC_APDU": self.way, f"LPAC_APDU_{way}_UIM_SLOT": slot, **names, **shared}


@dataclass(frozen=True, slots=True)
class Profile:
    """One on an eSIM."""

    iccid: str
    enabled: bool
    provider: str = ""
    name: str = ""
    nickname: str = ""


def slot_of(modem: Modem, wanted: int | None) -> int:
    """Where its eSIM is; `wanted`: a slot that is one, whatever the manager tells of it. EsimError, where none is."""
    sims: tuple[Sim | None, ...] = modem.slots or (modem.sim,)
    found = [place for place, sim in enumerate(sims, 1) if sim is not None and sim.esim]
    if modem.sim is not None and modem.sim.esim:
        found.insert(0, modem.slot)
    if wanted is not None:
        if wanted > len(sims) and wanted != modem.slot:
            raise EsimError(f"the modem has no slot {wanted}", "`failover modems` lists them")
        return wanted
    if not found:
        mend = "`failover modems` lists them; if one is, name its uplink with --modem"
        raise EsimError("ModemManager tells of no eSIM in the modem's slots", mend)
    return found[0]


async def card_of(line: Line, modem: Modem, slot: int) -> Card:
    """EsimError, when there is no way to it; BusError."""
    ports = told(await line.get(SERVICE, modem.handle, f"{MODEM}.Ports"), "a(su)") or []
    device = told(await line.get(SERVICE, modem.handle, f"{MODEM}.Device"), "s") or ""
    for kind, way in PORTS:
        for name, found in ports:
            if found == kind and name and name == clean(name) and "/" not in name:
                return Card(slot, device, way, f"/dev/{name}")
    raise EsimError("the modem has neither an MBIM, a QMI nor an AT port", "its eSIM cannot be reached by lpac")


@asynccontextmanager
async def inhibited(line: Line, device: str) -> AsyncIterator[None]:
    """ModemManager keeps its hands off the modem meanwhile. EsimError, when it does not."""
    try:
        await line.call(SERVICE, ROOT, f"{SERVICE}.InhibitDevice", "sb", [device, True], seconds=INHIBITING)
    except BusError as error:
        raise EsimError(f"ModemManager does not let go of the modem: {error}", error.hint or "run as root") from error
    try:
        yield
    finally:
        with suppress(BusError):  # it goes with the connection
            await line.call(SERVICE, ROOT, f"{SERVICE}.InhibitDevice", "sb", [device, False])


def program() -> str:
    """Where lpac is; to be asked before anything is taken from the manager for it. EsimError, where it is not."""
    path = shutil.which(PROGRAM)
    if path is None:
        raise EsimError("lpac is not installed", INSTALL)
    return path


async def profiles(card: Card, seconds: float = SECONDS) -> tuple[Profile, ...]:
    """All that are on it. EsimError."""
    data = await _lpac(card, seconds, "profile", "list")
    if not isinstance(data, list):
        raise EsimError("lpac tells of no profiles", "`lpac profile list` should")
    found = (_profile(one) for one in data[:PROFILES_MAX] if isinstance(one, dict))
    return tuple(one for one in found if one.iccid)


async def enable(card: Card, iccid: str, seconds: float = SECONDS) -> tuple[Profile, ...]:
    """Use that profile; what was there before. EsimError: it is not there, is in use already, or lpac cannot."""
    before = await profiles(card, seconds)
    wanted = next((one for one in before if one.iccid == iccid), None)
    if wanted is None:
        known = ", ".join(one.iccid for one in before) or "none"
        raise EsimError(f"the eSIM has no profile {iccid}", f"it has {known}")
    if wanted.enabled:
        raise EsimError(f"profile {iccid} is in use already", "nothing is to be done")
    await _lpac(card, seconds, "profile", "enable", iccid)
    return before


def _profile(told_of: Mapping[str, Any]) -> Profile:
    return Profile(
        iccid=digits(_text(told_of, "iccid").rstrip("Ff")),
        enabled=_text(told_of, "profileState").lower() == "enabled",
        provider=word(_text(told_of, "serviceProviderName")),
        name=word(_text(told_of, "profileName")),
        nickname=word(_text(told_of, "profileNickname")),
    )


def _text(told_of: Mapping[str, Any], name: str) -> str:
    value = told_of.get(name)
    return value if isinstance(value, str) else ""


# --- the child -------------------------------------------------------------------------------------------------------


async def _lpac(card: Card, seconds: float, *words: str) -> object:
    """Its answer's data. It is killed, with what it started, when it takes longer or says more. EsimError."""
    path = program()
    environment = {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", **card.environment}
    try:
        child = subprocess.Popen(
            [path, *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
            start_new_session=True,
        )
    except OSError as error:
        raise EsimError(f"{path}: {error.strerror}", INSTALL) from error
    try:
        return _answer(*await asyncio.to_thread(_hear, child, seconds))
    finally:
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()


def _hear(child: subprocess.Popen[bytes], seconds: float) -> tuple[bytes, bytes]:
    """What it says and complains of, until nobody has its pipes any more. EsimError, if that takes longer or is more
    than it should be."""
    assert child.stdout is not None
    assert child.stderr is not None
    end, said, complained = time.monotonic() + seconds, bytearray(), bytearray()
    with child.stdout, child.stderr, selectors.DefaultSelector() as waiting:
        waiting.register(child.stdout, selectors.EVENT_READ, said)
        waiting.register(child.stderr, selectors.EVENT_READ, complained)
        while waiting.get_map():
            ready = waiting.select(max(0.0, end - time.monotonic()))
            if time.monotonic() >= end:
                raise EsimError(f"lpac was not done after {seconds:g} s", "does the modem answer? `mmcli -L`")
            for key, _ in ready:
                chunk = os.read(key.fd, 1 << 16)
                if not chunk:
                    waiting.unregister(key.fileobj)
                key.data.extend(chunk)
                if len(key.data) > ANSWER_MAX:
                    raise EsimError(f"lpac says more than {ANSWER_MAX} bytes", "is it lpac?")
    return bytes(said), bytes(complained)


def _answer(said: bytes, complained: bytes) -> object:
    """The data of the last line that is one of its answers. EsimError, also of a refusal."""
    payload: Mapping[str, Any] | None = None
    for line in said.splitlines():
        with suppress(ValueError, RecursionError):
            tree = json.loads(line)
            if isinstance(tree, dict) and tree.get("type") == "lpa" and isinstance(tree.get("payload"), dict):
                payload = tree["payload"]
    if payload is None:
        last = complained.decode("utf-8", "replace").strip().rpartition("\n")[2]
        raise EsimError(f"lpac gave no answer{f': {clean(last)}' if last else ''}", "`lpac profile list` should")
    if payload.get("code") != 0:
        why = [clean(part) for part in (payload.get("message"), payload.get("data")) if isinstance(part, str) and part]
        mend = "there may be no eSIM in that slot" if "euicc_init" in why else "its documentation has the words"
        raise EsimError(f"lpac: {': '.join(why) or 'failed'}", mend)
    return payload.get("data")
