"""USB modems in a /sys that nobody but ModemManager looks at: a tree of files, and no device."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

HOST = "devices/pci0000:00/0000:00:14.0"
"""The controller, below /sys."""


@dataclass(frozen=True, slots=True)
class Port:
    """What a driver makes of one USB interface. `subsystem`: tty, net or usbmisc."""

    interface: int
    subsystem: str
    name: str
    driver: str


@dataclass(frozen=True, slots=True)
class Device:
    """One modem at a place like "1-1"; `vendor` and `product` choose ModemManager's plugin."""

    place: str
    vendor: str
    product: str
    serial: str
    ports: tuple[Port, ...]

    @property
    def path(self) -> str:
        """As ModemManager names it: Modem.Device."""
        return f"/sys/{HOST}/usb1/{self.place}"


class Tree:
    """The /sys at `root`, which is a folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for place in ("bus/usb/drivers/usb", "bus/pci", "class/tty", "class/net", "class/usbmisc"):
            (root / place).mkdir(parents=True)
        self._link(root / HOST / "subsystem", "bus/pci")

    def plug(self, device: Device) -> None:
        """It is there, and its ports are."""
        home = self._home(device)
        values = {"idVendor": device.vendor, "idProduct": device.product, "serial": device.serial}
        values |= {"bcdDevice": "0100", "manufacturer": "Acme", "product": "LTE modem"}
        self._node(home, "usb", values)
        for port in device.ports:
            part = home / f"{device.place}:1.{port.interface}"
            number = f"{port.interface:02d}"
            common = {"bInterfaceClass": "ff", "bInterfaceSubClass": "00", "bInterfaceProtocol": "00"}
            self._node(part, port.driver, common | {"bInterfaceNumber": number})
            folder = f"{port.name}/tty" if port.subsystem == "tty" else port.subsystem
            place = part / folder / port.name
            self._link(place / "subsystem", f"class/{port.subsystem}")
            self._link(self.root / "class" / port.subsystem / port.name, str(place.relative_to(self.root)))

    def unplug(self, device: Device) -> None:
        """Nothing of it is left."""
        for port in device.ports:
            (self.root / "class" / port.subsystem / port.name).unlink(missing_ok=True)
        shutil.rmtree(self._home(device), ignore_errors=True)

    def _home(self, device: Device) -> Path:
        return self.root / device.path.removeprefix("/sys/")

    def _node(self, place: Path, driver: str, values: dict[str, str]) -> None:
        place.mkdir(parents=True, exist_ok=True)
        for name, value in values.items():
            (place / name).write_text(f"{value}\n")
        (self.root / "bus/usb/drivers" / driver).mkdir(exist_ok=True)
        self._link(place / "driver", f"bus/usb/drivers/{driver}")
        self._link(place / "subsystem", "bus/usb")

    def _link(self, link: Path, target: str) -> None:
        link.parent.mkdir(parents=True, exist_ok=True)
        if not link.is_symlink():
            link.symlink_to(os.path.relpath(self.root / target, link.parent))
