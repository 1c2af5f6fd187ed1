"""What is done to a modem: each deed over a connection of its own, within its time, and answered once.

One at a time for each modem. A PIN and a password go to the manager, and nowhere else.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from math import inf
from typing import Final

from dbus_fast import Variant

from failover.bus import BusError
from failover.model import FAMILIES
from failover.modem import Deed
from failover.modems import networkmanager, power
from failover.modems.line import Line
from failover.modems.numbers import (
    IP_TYPES,
    MODEM,
    NOTHING,
    PRIMARY_LOW,
    SERVICE,
    SIM,
    SIMPLE,
    THREE_GPP,
    VOICE_CENTRIC,
)
from failover.modems.values import told
from failover.seam import ActOnModem, ModemActed

CONTROL: Final = f"{SERVICE}.Device.Control"
MANAGE_UNITS: Final = f"{power.SERVICE}.manage-units"
NM_CONTROL: Final = f"{networkmanager.SERVICE}.network-control"
"""What polkit(8) calls them."""
SECONDS: Final = {
    Deed.ENABLE: 45.0,
    Deed.UNLOCK: 20.0,
    Deed.CONNECT: 60.0,
    Deed.RECONNECT: 60.0,
    Deed.REGISTER: 55.0,
    Deed.RESET: 30.0,
    Deed.POWER_CYCLE: 55.0,
    Deed.SELECT_SLOT: 30.0,
}
"""At most."""
POWERING_UP: Final = 20.0
"""Seconds for a modem that was switched off to be on again, after whatever went wrong."""
SWITCHING_OFF: Final = 3
"""Attempts; others may be quicker to enable it again than we are to take its power."""
CENTRING: Final = 10.0
"""Seconds for a modem to become data-centric; what it was asked for is done without that."""
_DBUS: Final = "org.freedesktop.DBus.Error"
DENIED: Final = f"{_DBUS}.AccessDenied"
"""By the policy of the bus, before anybody asks polkit."""
ADMIT: Final = "install systemd/failover-dbus.conf as systemd/README.md says"
REFUSED: Final = frozenset(
    (
        f"{SERVICE}.Error.Core.Unauthorized",
        f"{networkmanager.SERVICE}.PermissionDenied",
        DENIED,
        f"{_DBUS}.InteractiveAuthorizationRequired",
    )
)
UNKNOWN: Final = frozenset(
    (
        f"{SERVICE}.Error.Core.Unsupported",
        f"{_DBUS}.UnknownMethod",
        f"{_DBUS}.UnknownInterface",
        f"{_DBUS}.UnknownObject",
        f"{_DBUS}.UnknownProperty",
        f"{_DBUS}.ServiceUnknown",
        f"{_DBUS}.NameHasNoOwner",
    )
)
"""Who answers so cannot do it, or is gone."""
WRONG_STATE: Final = f"{SERVICE}.Error.Core.WrongState"
WRONG_PIN: Final = f"{SERVICE}.Error.MobileEquipment.IncorrectPassword"
NO_APN: Final = f"{SERVICE}.Error.Core.InvalidArgs"
"""Also what else is amiss with what a bearer is asked for."""
BUSY: Final = "another deed is under way with this modem"
STOPPED: Final = "the agent lets go of modems"


@dataclass(frozen=True, slots=True)
class _Doing:
    """One deed under way."""

    line: Line
    order: ActOnModem
    device: str
    """Of the program that dials the modem; empty: none does."""

    async def ask(self, member: str, signature: str = "", *body: object, reply: str = "") -> None:
        """A method of the modem; the deed's own time limits it."""
        await self.line.call(SERVICE, self.order.modem, member, signature, body, reply, inf)


class Deeds:
    """`begin` returns at once; `told` gets exactly one answer to each order."""

    def __init__(self, told: Callable[[ModemActed], None], dialler: Callable[[str], str], address: str) -> None:
        """To be made in the running loop. `dialler`: NetworkManager's device for a modem, or nothing."""
        self._told, self._dialler, self._address = told, dialler, address
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def begin(self, order: ActOnModem) -> None:
        """Do it, unless another one is under way with that modem."""
        key = order.modem or order.uplink
        if key in self._tasks:
            self._told(ModemActed(order, BUSY, "it ends within a minute"))
            return
        self._tasks[key] = asyncio.get_running_loop().create_task(self._do(key, order))

    async def close(self) -> None:
        """What is under way is answered with an error."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def _do(self, key: str, order: ActOnModem) -> None:
        seconds = SECONDS[order.deed]
        answer = ModemActed(order, STOPPED)
        try:
            async with asyncio.timeout(seconds):
                answer = await self._tried(order)
        except TimeoutError:
            answer = ModemActed(order, f"not done after {seconds:g} s", "what does `mmcli -L` say?")
        finally:
            del self._tasks[key]
            self._told(answer)

    async def _tried(self, order: ActOnModem) -> ModemActed:
        try:
            line = await Line.open(self._address, (order.pin, order.dial.password))
        except BusError as error:
            return ModemActed(order, str(error), error.hint)
        try:
            known = await _DEEDS[order.deed](_Doing(line, order, self._dialler(order.modem)))
        except BusError as error:
            return _failed(order, error, unknown=error.name in UNKNOWN and await _unable(line, order))
        finally:
            await line.close()
        if known:
            return ModemActed(order)
        return ModemActed(order, f"there is no {power.unit(order.uplink)}", "see systemd/README.md", unknown=True)


async def _unable(line: Line, order: ActOnModem) -> bool:
    """Whether it is the modem that cannot do it, as is said: and none is gone, nor who dials it."""
    if order.deed is Deed.RECONNECT:
        return False
    with suppress(BusError):
        if order.modem:
            await line.get(SERVICE, order.modem, f"{MODEM}.State")
        return True
    return False


def _failed(order: ActOnModem, error: BusError, *, unknown: bool) -> ModemActed:
    if error.name == DENIED:
        return ModemActed(order, f"the system bus does not let us: {error}", ADMIT)
    if error.name in REFUSED:
        return ModemActed(order, f"not allowed: {error}", mend(_action(order, error)))
    if error.name == WRONG_PIN:
        return ModemActed(
            order, str(error), "correct the `pin:` in the config: each wrong try brings the SIM nearer to its PUK"
        )
    if error.name == NO_APN and order.deed in (Deed.CONNECT, Deed.RECONNECT) and not order.dial.apn:
        return ModemActed(order, str(error), "give this SIM's `apn:` in the config")
    return ModemActed(order, str(error), error.hint, unknown=unknown)


def _action(order: ActOnModem, error: BusError) -> str:
    if order.deed is Deed.POWER_CYCLE:
        return MANAGE_UNITS
    return NM_CONTROL if error.name.startswith(networkmanager.SERVICE) else CONTROL


def mend(action: str) -> str:
    """What to do where polkit does not allow an action."""
    return f"polkit must allow {action} to the agent's user: install systemd/failover.rules as systemd/README.md says"


# --- each deed; False: there is nobody who could ---------------------------------------------------------------------


async def _enable(doing: _Doing) -> bool:
    await doing.ask(f"{MODEM}.Enable", "b", True)
    return True


async def _unlock(doing: _Doing) -> bool:
    sim = told(await doing.line.get(SERVICE, doing.order.modem, f"{MODEM}.Sim"), "o") or NOTHING
    await doing.line.call(SERVICE, sim, f"{SIM}.SendPin", "s", [doing.order.pin], seconds=inf)
    return True


async def _connect(doing: _Doing) -> bool:
    await _centre(doing)
    dial = doing.order.dial
    kind = "ipv4v6" if set(dial.families) == set(FAMILIES) else dial.families[0].value
    settings = {"ip-type": Variant("u", IP_TYPES[kind]), "allow-roaming": Variant("b", dial.roaming)}
    texts = {"apn": dial.apn, "user": dial.user, "password": dial.password}
    settings |= {key: Variant("s", value) for key, value in texts.items() if value}
    await doing.ask(f"{SIMPLE}.Connect", "a{sv}", settings, reply="o")
    return True


async def _centre(doing: _Doing) -> None:
    """A voice-centric modem leaves a network that has data and no voice (3GPP TS 24.301, 4.3). It is set data-centric,
    if it can be, where it is about to be connected or registered anew anyway. The modes come in pairs."""
    with suppress(BusError):
        mode = told(await doing.line.get(SERVICE, doing.order.modem, f"{THREE_GPP}.EpsUeModeOperation"), "u")
        if mode in VOICE_CENTRIC:
            wanted = f"{THREE_GPP}.SetEpsUeModeOperation", "u", [mode + 1]
            await doing.line.call(SERVICE, doing.order.modem, *wanted, seconds=CENTRING)


async def _reconnect(doing: _Doing) -> bool:
    if doing.device:
        await networkmanager.reactivate(doing.line, doing.device)
        return True
    with suppress(BusError):  # what is not connected need not be disconnected
        await doing.ask(f"{SIMPLE}.Disconnect", "o", NOTHING)
    return await _connect(doing)


async def _register(doing: _Doing) -> bool:
    """The radio off and on. Register("") alone does nothing where the modem believes to be registered
    (mm_iface_modem_3gpp_register_in_network), and that it may be on a network that is dead."""
    await _centre(doing)
    async with _unattended(doing):
        try:
            await _switch_off(doing)
        finally:
            async with asyncio.timeout(POWERING_UP):
                await doing.ask(f"{MODEM}.Enable", "b", True)
        try:
            await doing.ask(f"{THREE_GPP}.Register", "s", "")
        except BusError as error:
            if error.name != WRONG_STATE:  # it is connected by now
                raise
    return True


@asynccontextmanager
async def _unattended(doing: _Doing) -> AsyncIterator[None]:
    """NetworkManager dials the modem again afterwards, whatever happened meanwhile."""
    profile = NOTHING
    if doing.device:
        with suppress(BusError):
            profile = await networkmanager.profile(doing.line, doing.device)
    try:
        yield
    finally:
        if doing.device:
            await networkmanager.dial(doing.line, doing.device, profile)


async def _switch_off(doing: _Doing) -> None:
    """NetworkManager would connect a modem that is being disabled before it is; others may do so, too."""
    for _ in range(SWITCHING_OFF):
        if doing.device:
            await networkmanager.leave(doing.line, doing.device)
        await doing.ask(f"{MODEM}.Enable", "b", False)
        try:
            await doing.ask(f"{MODEM}.SetPowerState", "u", PRIMARY_LOW)
            return
        except BusError as error:
            if error.name != WRONG_STATE:  # not every modem can; to be disabled already makes most leave the network
                return


async def _reset(doing: _Doing) -> bool:
    await doing.ask(f"{MODEM}.Reset")
    return True


async def _power_cycle(doing: _Doing) -> bool:
    return await power.cycle(doing.line, doing.order.uplink)


async def _select_slot(doing: _Doing) -> bool:
    await doing.ask(f"{MODEM}.SetPrimarySimSlot", "u", doing.order.slot)
    return True


_DEEDS: Final[dict[Deed, Callable[[_Doing], Awaitable[bool]]]] = {
    Deed.ENABLE: _enable,
    Deed.UNLOCK: _unlock,
    Deed.CONNECT: _connect,
    Deed.RECONNECT: _reconnect,
    Deed.REGISTER: _register,
    Deed.RESET: _reset,
    Deed.POWER_CYCLE: _power_cycle,
    Deed.SELECT_SLOT: _select_slot,
}
