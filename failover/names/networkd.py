"""What systemd-networkd says of its links, in the files that systemd-resolved reads it from. Only read."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from failover import files
from failover.names.backend import usable

LINKS: Final = Path("/run/systemd/netif/links")
"""One file a link, named by its ifindex, with what configuration, leases and router advertisements came to."""
BYTES_MAX: Final = 1 << 16
NOT_MANAGED: Final = ("", "pending", "initialized", "unmanaged")
"""States of a link that systemd-resolved lets others configure (link_read_is_managed in resolved-link.c)."""


def is_managed(index: int, folder: Path = LINKS) -> bool:
    """Whether systemd-networkd configures the link: then it is asked, and not systemd-resolved."""
    return _read(index, folder).get("ADMIN_STATE", "") not in NOT_MANAGED


def told(index: int, folder: Path = LINKS) -> tuple[str, ...]:
    """The link's name servers; those with a port of their own are left out."""
    return usable(server.partition("#")[0] for server in _read(index, folder).get("DNS", "").split())


def _read(index: int, folder: Path) -> Mapping[str, str]:
    """Its lines as a mapping; empty where there is none."""
    try:
        text = files.tail(folder / str(index), BYTES_MAX)
    except OSError:
        return {}
    pairs = (line.partition("=") for line in os.fsdecode(text).splitlines())
    return {key: value for key, _, value in pairs}
