"""A box in which the real ModemManager finds simulated modems, with real polkitd, and NetworkManager where wanted."""

from __future__ import annotations

import shutil
import signal
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from failover.lab.namespaces import Namespace
from tests import enclosure
from tests.enclosure import POLKITD, Enclosure
from tests.modems.manager import MODEM_MANAGER, NETWORK_MANAGER, Manager
from tests.modems.usb import Port, Tree

NEEDED = (POLKITD, "ModemManager", "/usr/libexec/mbim-proxy", "dnsmasq")
USERS = {"root": 0, "messagebus": 901, "polkitd": 902, "failover": 905}
EVENTS = "run/plugged"
"""What is plugged in when ModemManager starts; later it is told."""
MANAGER = (
    "ModemManager",
    "--debug",
    "--test-no-udev",
    "--test-no-suspend-resume",
    "--test-no-qrtr",
    "--no-auto-scan",
    f"--initial-kernel-events=/{EVENTS}",
)
SETTINGS = """\
[main]
plugins=keyfile
dns=none
rc-manager=unmanaged
auth-polkit=false
[connectivity]
enabled=false
[keyfile]
unmanaged-devices=except:interface-name:cdc-wdm*,except:interface-name:tty*,except:interface-name:wwan*
"""
PROFILE = """\
[connection]
id={name}
type=gsm
autoconnect={automatic}
interface-name={port}
[gsm]
apn={apn}
[ipv4]
method=auto
route-metric={metric}
[ipv6]
method=disabled
"""


def require(*programs: str) -> None:
    """Skips where a box cannot be made."""
    enclosure.require(*NEEDED, *programs)


class Box(Enclosure):
    """`sys` is its /sys, in which modems can be plugged. The managers are started and ended one by one."""

    def __init__(self, network: Namespace, folder: Path) -> None:
        """Start it, with polkitd; `folder` is empty."""
        self.modem_manager: subprocess.Popen[Any] | None = None
        self.network_manager: subprocess.Popen[Any] | None = None
        super().__init__(network, folder, ["sh", str(Path(__file__).with_name("inside.sh")), str(folder)], USERS)
        self.manager = Manager(self.address)
        self.start_polkitd()
        self.manager.await_owner("org.freedesktop.PolicyKit1")

    def furnish(self) -> None:
        self.sys = Tree(self.root / "sys")
        shutil.copy("/etc/dbus-1/system.d/org.freedesktop.ModemManager1.conf", self.root / "etc/dbus-1/system.d")
        (self.root / "etc/NetworkManager/system-connections").mkdir(parents=True)
        (self.root / "run/NetworkManager").mkdir()

    # --- devices -----------------------------------------------------------------------------------------------------

    def terminal(self, name: str, terminal: str) -> None:
        """Let /dev/NAME be that terminal: by a link for a serial port, which may be one, else in its place."""
        node = Path(f"/proc/{self._init.pid}/root/dev/{name}")
        self.no_terminal(name)
        if name.startswith("tty"):
            node.symlink_to(terminal)
            return
        node.touch()
        assert self.run("mount", "--bind", terminal, f"/dev/{name}").returncode == 0, self.log()

    def no_terminal(self, name: str) -> None:
        """/dev/NAME is gone."""
        node = Path(f"/proc/{self._init.pid}/root/dev/{name}")
        if node.exists() and not node.is_symlink():
            assert self.run("umount", "--lazy", f"/dev/{name}").returncode == 0, self.log()
        node.unlink(missing_ok=True)

    # --- ModemManager ------------------------------------------------------------------------------------------------

    def start_modem_manager(self, plugged: Iterable[Port]) -> None:
        """It is on the bus afterwards; the modems come a while later."""
        self.foretell(plugged)
        self.modem_manager = self._start("ModemManager", *MANAGER)
        self.manager.await_owner(MODEM_MANAGER)

    def foretell(self, plugged: Iterable[Port]) -> None:
        """What ModemManager finds when it is started."""
        events = "".join(f"action=add,name={port.name},subsystem={port.subsystem}\n" for port in plugged)
        (self.root / EVENTS).write_text(events)

    def kill_modem_manager(self) -> None:
        """By SIGKILL: nothing is put in order."""
        if self.modem_manager is not None:
            self.end(self.modem_manager)
            self.modem_manager = None
            self.manager.await_no_owner(MODEM_MANAGER)

    @contextmanager
    def hanging(self, service: subprocess.Popen[Any]) -> Iterator[None]:
        """That one's process stands still meanwhile; what is said to it waits."""
        (child,) = psutil.Process(service.pid).children()
        child.suspend()
        try:
            yield
        finally:
            child.resume()
            service.send_signal(signal.SIGCONT)  # nsenter stops when its child does

    # --- NetworkManager ----------------------------------------------------------------------------------------------

    def profile(self, name: str, port: str, apn: str = "internet", metric: int = 700, automatic: bool = True) -> None:
        """A gsm connection for the modem of that control port. For NetworkManager's next start."""
        file = self.root / f"etc/NetworkManager/system-connections/{name}.nmconnection"
        text = PROFILE.format(name=name, port=port, apn=apn, metric=metric, automatic=str(automatic).lower())
        file.write_text(text)
        file.chmod(0o600)

    def start_network_manager(self) -> None:
        """It is on the bus afterwards."""
        (self.root / "etc/NetworkManager/NetworkManager.conf").write_text(SETTINGS)
        self.network_manager = self._start("NetworkManager", "NetworkManager", "--no-daemon", "--log-level=INFO")
        self.manager.await_owner(NETWORK_MANAGER)

    def kill_network_manager(self) -> None:
        """By SIGKILL."""
        if self.network_manager is not None:
            self.end(self.network_manager)
            self.network_manager = None
            self.manager.await_no_owner(NETWORK_MANAGER)

    def _start(self, name: str, *argv: str) -> subprocess.Popen[Any]:
        with (self.root / f"{name}.log").open("ab") as log:
            return self.popen(*argv, stdout=log, stderr=log)

    def logged(self, name: str) -> str:
        """What a manager logged: "ModemManager" or "NetworkManager"."""
        return (self.root / f"{name}.log").read_text(errors="replace")

    def close(self) -> None:
        self.manager.close()
        super().close()
