"""openresolv (resolvconf(8)): one exclusive record of ours, which is all that it hands on.

One record, `failover`, and not one an interface: a switch is then one run of resolvconf, at one moment, and the record
tells by its name that it is ours. Exclusive, since the records of the other uplinks name resolvers that do not answer
over the active one. Its subscribers (libc, dnsmasq, unbound, named) are its own business.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from typing import Final

from failover.model import clean
from failover.names import children
from failover.names.backend import NamesError, lines, usable
from failover.resolvers import Resolvers

RECORD: Final = "failover"
HEADER: Final = "# resolv.conf from "
"""What stands over each record in `resolvconf -l`."""
MEND: Final = "openresolv takes root's word only: choose `dns: file`, and systemd/README.md says how it is handed on"


def find() -> str | None:
    """Where resolvconf is."""
    return shutil.which("resolvconf", path=children.PATH)


async def is_openresolv(program: str) -> bool:
    """systemd-resolved and Debian's own resolvconf have a program of that name, too. NamesError when it cannot run."""
    return (await children.run((program, "--version"))).said.startswith("openresolv ")


class Resolvconf:
    """Tells openresolv."""

    def __init__(self, program: str) -> None:
        self._program = program

    async def told(self, interfaces: Sequence[str]) -> Mapping[str, tuple[str, ...]]:
        """See Backend: from the records named IFACE or IFACE.ANYTHING, as dhcpcd, dhclient, pppd and ifupdown make
        them."""
        records = await self._records()
        return {name: usable(_of(records, name, "nameserver")) for name in interfaces}

    async def follow(self, wanted: Sequence[Resolvers]) -> tuple[str, ...]:
        """See Backend. The active uplink's search list goes along."""
        servers = lines(wanted)
        if not servers:
            raise NamesError("no name servers are known for the active uplink", "set `dns:` servers in the config")
        records = await self._records()
        search = [word for one in wanted if one.families for word in _of(records, one.interface, "search", "domain")]
        text = "".join(f"nameserver {server}\n" for server in servers)
        if search:
            text += f"search {' '.join(dict.fromkeys(search))}\n"
        if records.get(RECORD, "").strip() == text.strip():
            return ()
        await self._do(("-x", "-a", RECORD), text)
        return (f"name servers of the box: {', '.join(servers)}",)

    async def restore(self) -> tuple[str, ...]:
        """See Backend."""
        if RECORD not in await self._records():
            return ()
        await self._do(("-f", "-d", RECORD))
        return ("name servers of the box: as openresolv has them",)

    async def close(self) -> None:
        """See Backend."""

    async def _records(self) -> Mapping[str, str]:
        """Every record by its name."""
        found: dict[str, str] = {}
        name = ""
        for line in (await children.run((self._program, "-l"))).said.splitlines():
            if line.startswith(HEADER):
                name = line.removeprefix(HEADER)
                found[name] = ""
            elif name:
                found[name] += f"{line}\n"
        return found

    async def _do(self, options: Sequence[str], given: str = "") -> None:
        done = await children.run((self._program, *options), given)
        if done.status:
            raise NamesError(f"resolvconf: {clean(done.complained) or 'it failed without a word'}", MEND)


def _of(records: Mapping[str, str], interface: str, *keys: str) -> list[str]:
    """The values of those keys in an interface's records."""
    own = [text for name, text in records.items() if name == interface or name.startswith(f"{interface}.")]
    words = (line.split() for text in own for line in text.splitlines())
    return [value for first, *values in filter(None, words) if first in keys for value in values]
