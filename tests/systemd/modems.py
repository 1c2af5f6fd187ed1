"""A booted machine as the box in which ModemManager finds simulated modems: as a service, with D-Bus and polkit."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterable

from tests.modems.box import MANAGER, Box
from tests.modems.manager import Manager
from tests.modems.usb import Port, Tree
from tests.systemd.machine import Machine

SEEN = ("bus", "class", "devices")
"""Of /sys, in place of what the kernel shows there."""
UNITS = "etc/systemd/system"
SOCKET = f"{UNITS}/dbus.socket"
WATCHED = ("etc/dbus-1/system.d", "etc/polkit-1/rules.d")
"""The packages bring them; who is to watch them must find them."""
POLICY = "etc/dbus-1/system.d/org.freedesktop.ModemManager1.conf"
SERVICES = ("ModemManager", "polkit", "dbus.socket", "dbus")
SETTINGS = f"""\
[Unit]
ConditionVirtualization=
[Service]
ExecStart=
ExecStart={" ".join(("/usr/sbin/ModemManager", *MANAGER[1:]))}
"""


class Dock(Box):
    """While it is open, the machine has modems, and a system bus."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self.root, self.network = machine.root, machine.network
        self._init = machine.init
        self._home = machine.root / "modems"
        self.sys = Tree(self._home)
        for name in SEEN:
            machine.run("mount", "--bind", f"/modems/{name}", f"/sys/{name}")
        for place in WATCHED:
            (machine.root / place).mkdir(parents=True, exist_ok=True)
        shutil.copy(f"/{POLICY}", machine.root / POLICY)
        settings = machine.root / UNITS / "ModemManager.service.d/override.conf"
        settings.parent.mkdir()
        settings.write_text(SETTINGS)
        (machine.root / SOCKET).unlink()
        machine.systemctl("daemon-reload")
        machine.systemctl("start", "polkit")
        self.address = f"unix:path={machine.root}/run/dbus/system_bus_socket"
        self.manager = Manager(self.address)

    def run(self, *argv: str, given: str = "") -> subprocess.CompletedProcess[str]:
        """A command in it, as root."""
        assert not given
        return self._machine.run(*argv, check=False)

    def start_modem_manager(self, plugged: Iterable[Port]) -> None:
        self.foretell(plugged)
        self._machine.systemctl("start", "ModemManager")

    def kill_modem_manager(self) -> None:
        self._machine.systemctl("kill", "--signal=SIGKILL", "ModemManager")

    def log(self) -> str:
        """What its services say of themselves."""
        return self._machine.run("systemctl", "status", *SERVICES, check=False).stdout

    def close(self) -> None:
        """The machine is as it was."""
        self.manager.close()
        self._machine.systemctl("stop", *SERVICES)
        (self.root / "run/dbus/system_bus_socket").unlink()
        (self.root / SOCKET).symlink_to("/dev/null")
        self._machine.systemctl("daemon-reload")
        for name in SEEN:
            self._machine.run("umount", f"/sys/{name}")
        shutil.rmtree(self._home)
