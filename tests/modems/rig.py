"""The rig: a van with simulated modems, carriers and an internet behind them, and the real ModemManager in a box.

    with Namespace("van") as van, rigged(van) as rig:
        modem = rig.mbim()
        path = rig.manager.listed(modem.imei)
        rig.manager.connect(path)
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from failover.lab.namespaces import Namespace
from failover.lab.reach import udp_echo
from failover.lab.rtnl import Route
from failover.model import Family
from tests.enclosure import PATIENCE
from tests.modems.at import AtModem
from tests.modems.box import Box
from tests.modems.carriers import AU, DOCOMO, RAKUTEN, SOFTBANK, Internet, Radio, Sim, sim_of
from tests.modems.inside import Inside
from tests.modems.manager import BEARER, CallError, Manager
from tests.modems.mbim import MbimModem
from tests.modems.modem import Modem, Registration, Technology
from tests.modems.stagehand import Stagehand
from tests.modems.usb import Device, Port

MBIM = ("1199", "9999")
AT = ("2cb7", "0104")
"""USB vendor and product: what ModemManager chooses its plugin by."""
SLOTS = {1: (AU, DOCOMO), 2: (SOFTBANK, RAKUTEN), 3: (DOCOMO, AU), 4: (RAKUTEN, SOFTBANK)}
"""Of the modem of that number, unless something else is asked for."""


STATIC = 2
"""MMBearerIpMethod."""
METRIC = 700
ASK = 0.2
"""Seconds between two datagrams; an interface that has just come up loses the first."""


class Rig:
    """Everything. Modems are numbered from 1 on: number n is at USB place 1-n, its interface is wwan(n-1)."""

    def __init__(
        self,
        van: Namespace,
        folder: Path,
        internet: Namespace | None = None,
        box: Callable[[Namespace, Path], Box] = Box,
    ) -> None:
        """`folder` is empty. `internet`: with the lab's addresses in it; its own, with servers, if none is given. `box`
        makes another place for ModemManager."""
        self.van = van
        self._stack = ExitStack()
        with ExitStack() as made:
            own = None if internet else Internet()
            if own:
                made.callback(own.close)
            self.internet = own.namespace if own else internet
            self.hand = Stagehand()
            made.callback(self.hand.close)
            self.box = box(van, folder)
            made.callback(self.box.close)
            if own:
                own.ready()
            self._stack = made.pop_all()
        self.modems: dict[int, Modem] = {}

    @property
    def manager(self) -> Manager:
        """ModemManager, as a client sees it."""
        return self.box.manager

    @property
    def address(self) -> str:
        """Of the bus."""
        return self.box.address

    @property
    def inside(self) -> Inside:
        """The van, for who is to see the box's /sys, /etc and /run, too."""
        return Inside(self.box)

    def start(self) -> None:
        """Start ModemManager with the modems that are plugged in; the box's kill_modem_manager() ends it."""
        ports = [port for modem in self.modems.values() if modem.plugged for port in modem.device.ports]
        self.box.start_modem_manager(ports)

    def mbim(self, number: int = 1, sims: Sequence[Sim | None] | None = None) -> MbimModem:
        """A modem with a slot for each of `sims`; two, an eSIM in the second, if nothing is said. Plugged in."""
        if sims is None:
            first, second = SLOTS[number]
            sims = (sim_of(first, 2 * number - 1), sim_of(second, 2 * number, esim=True))
        ports = (
            Port(4, "net", f"wwan{number - 1}", "cdc_mbim"),
            Port(4, "usbmisc", f"cdc-wdm{number - 1}", "cdc_mbim"),
        )
        device = Device(f"1-{number}", *MBIM, f"MBIM{number:04d}", ports)
        modem = MbimModem(self.hand, self.box, device, imei(number), self._radio(number, sims), sims)
        self.modems[number] = modem
        return modem

    def at(self, number: int = 1, sim: Sim | None = None) -> AtModem:
        """A modem with one SIM. Plugged in."""
        sims = (sim or sim_of(SLOTS[number][0], 2 * number - 1),)
        serial = (Port(1, "tty", f"ttyUSB{2 * number - 1}", "option"), Port(2, "tty", f"ttyUSB{2 * number}", "option"))
        ports = (*serial, Port(4, "net", f"wwan{number - 1}", "cdc_ether"))
        device = Device(f"1-{number}", *AT, f"AT{number:04d}", ports)
        radio = self._radio(number, sims)
        self.hand.do(lambda: radio.lend(sims[0].line))
        modem = AtModem(self.hand, self.box, device, imei(number), radio, sims)
        self.modems[number] = modem
        return modem

    def dress(self, modem: Modem, bearer: str) -> None:
        """Give the modem's interface what its static bearer says, and default routes, as a client would."""
        kernel, index = self.van.rtnl, modem.radio.index
        kernel.link_up(index)
        for name in ("Ip4Config", "Ip6Config"):
            config = self.manager.get(bearer, BEARER, name)
            if config["method"] == STATIC:
                kernel.add_address(index, f"{config['address']}/{config['prefix']}")
                kernel.add_route(Route("default", index, config["gateway"], metric=METRIC + index))

    def passes(self, modem: Modem, seconds: float = PATIENCE, family: Family = Family.IPV4) -> bool:
        """Whether datagrams over the modem's interface are answered, at last after so long."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            if udp_echo(self.van, family, modem.interface, min(left, ASK)) is not None:
                return True
        return False

    def calm(self, modem: Modem) -> None:
        """It is plugged in, obeys, is at home, and has no bearer and no address; which slot is active stays."""
        modem.obey()
        modem.light()
        modem.register(Registration.HOME, Technology.LTE)
        modem.replug()
        self.undress(modem)
        with suppress(CallError):
            self.manager.disconnect(self.manager.listed(modem.imei))

    def undress(self, modem: Modem) -> None:
        """Set the interface down: its routes are gone; and so are the addresses."""
        self.van.rtnl.link_down(modem.radio.index)
        for line in modem.radio.lines:
            with suppress(OSError):
                address = f"{line.address[Family.IPV4]}/{line.prefix[Family.IPV4]}"
                self.van.rtnl.remove_address(modem.radio.index, address)

    def _radio(self, number: int, sims: Sequence[Sim | None]) -> Radio:
        assert number not in self.modems
        assert self.internet is not None
        lines = [sim.line for sim in sims if sim is not None]
        net = self.internet
        return self.hand.do(lambda: Radio(self.van, f"wwan{number - 1}", number, lines, net))

    def remove(self, modem: Modem) -> None:
        """It is unplugged, and its number is free again."""
        modem.close()
        for number in [number for number, one in self.modems.items() if one is modem]:
            del self.modems[number]

    def close(self) -> None:
        for modem in list(self.modems.values()):
            self.remove(modem)
        self._stack.close()


def imei(number: int) -> str:
    """Of the modem of that number, with its check digit (Luhn, 3GPP TS 23.003 B)."""
    digits = f"35693803564{number:03d}"
    weighed = (int(digit) * (1 + place % 2) for place, digit in enumerate(digits))
    return digits + str(-sum(value // 10 + value % 10 for value in weighed) % 10)


@contextmanager
def rigged(
    van: Namespace,
    internet: Namespace | None = None,
    start: bool = True,
    box: Callable[[Namespace, Path], Box] = Box,
) -> Iterator[Rig]:
    """A rig, with ModemManager running if so asked."""
    with tempfile.TemporaryDirectory() as folder:
        rig = Rig(van, Path(folder), internet, box)
        try:
            if start:
                rig.start()
            yield rig
        finally:
            rig.close()
