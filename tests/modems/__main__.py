"""A box to try things in: the real ModemManager with simulated modems, until Ctrl-C.

As root, in namespaces of its own. One MBIM modem with two slots, and AT modems beside it if so asked. It says how to
get in: there, `mmcli -L` and `failover modems` list them, and `failover run` with a config of them drives them.
"""

from __future__ import annotations

import argparse
import os
import signal

from failover.lab.namespaces import Namespace
from tests.modems.rig import rigged


def main(more: int) -> None:
    """Tell where it is, and how to get in."""
    with Namespace("van") as van, rigged(van) as rig:
        modems = [rig.mbim(1), *(rig.at(number) for number in range(2, 2 + more))]
        paths = [rig.manager.listed(modem.imei) for modem in modems]
        print(f"DBUS_SYSTEM_BUS_ADDRESS={rig.address}")
        for modem, path in zip(modems, paths, strict=True):
            print(f"{path} imei {modem.imei} {modem.interface} {modem.device.path}")
        inside = f"nsenter --net=/proc/{os.getpid()}/fd/{van.fd}"
        print(f"the van's network: {inside} ip address")
        print(f"all of the box: nsenter --target {rig.box.first} --mount --net --pid mmcli -L")
        print(f"logs: {rig.box.root}", flush=True)
        signal.sigwait({signal.SIGINT, signal.SIGTERM})


def asked() -> int:
    """How many AT modems there shall be, as the command line has it; else that ends here, with a usage."""
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("python -m tests.modems", description=__doc__, formatter_class=form)
    more = "AT modems besides, up to 8 (0)"
    parser.add_argument("more", nargs="?", type=int, choices=range(9), default=0, metavar="AT_MODEMS", help=more)
    count: int = parser.parse_args().more
    return count


if __name__ == "__main__":
    more = asked()
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    main(more)
