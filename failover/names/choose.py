"""Which way this box's names go: what `dns: auto` comes to. Only looks."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Final

from failover import files
from failover.model import clean
from failover.names import resolvconf
from failover.names.backend import NamesError
from failover.names.file import MARKER
from failover.resolvers import Way

RESOLV_CONF: Final = PurePosixPath("/etc/resolv.conf")
STUBS: Final = (PurePosixPath("/run/systemd/resolve/stub-resolv.conf"), PurePosixPath("/usr/lib/systemd/resolv.conf"))
"""Files of systemd-resolved.service(8) that name its stub, 127.0.0.53."""
DIRECT: Final = PurePosixPath("/run/systemd/resolve/resolv.conf")
"""Another of it: programs ask the servers of all links then, past systemd-resolved."""
STUB: Final = "127.0.0.53"
BYTES_MAX: Final = 1 << 16


@dataclass(frozen=True, slots=True)
class Choice:
    """A way, what is amiss with it, and how to mend that; for NONE of AUTO why there is no other."""

    way: Way
    path: Path | None = None
    """FILE: the file."""
    program: str | None = None
    """RESOLVCONF: the program."""
    warning: str = ""
    hint: str = ""

    @property
    def how(self) -> tuple[Way, Path | None, str | None]:
        """What is done, whatever is amiss with it."""
        return self.way, self.path, self.program


@dataclass(frozen=True, slots=True)
class _Seen:
    """What /etc/resolv.conf is."""

    target: PurePosixPath
    """Where it leads; itself when it is no link."""
    text: str

    def begins(self, *words: str) -> bool:
        return self.text.startswith(words)

    @property
    def servers(self) -> set[str]:
        words = (line.split() for line in self.text.splitlines())
        return {line[1] for line in words if len(line) > 1 and line[0] == "nameserver"}


async def choose(way: Way, own: Path, root: Path = Path("/")) -> Choice:
    """What to use for `way`. `own`: the file that we write where /etc/resolv.conf leads there, or nobody says another.
    `root`: where the box's file system is. NamesError when what the operator asks for is not there."""
    seen, program = await asyncio.to_thread(_look, root), resolvconf.find()
    asked = program is not None and (way is Way.RESOLVCONF or (way is Way.AUTO and _is_by_resolvconf(seen)))
    if asked and not await resolvconf.is_openresolv(program or ""):
        program = None
    return _chosen(way, seen, own, root, program)


def likely(way: Way, own: Path, root: Path = Path("/")) -> Choice:
    """As `choose`, but nothing is run: whatever has the name of openresolv is taken for it."""
    return _chosen(way, _look(root), own, root, resolvconf.find())


def anew(way: Way, before: Choice, own: Path, root: Path = Path("/")) -> Choice:
    """As `choose`, which came to `before`, and nothing is run: of openresolv it knows what was known then."""
    return _chosen(way, _look(root), own, root, before.program)


def _chosen(way: Way, seen: _Seen | None, own: Path, root: Path, program: str | None) -> Choice:
    """`program`: openresolv, where that is installed."""
    if way is Way.AUTO:
        return _auto(seen, own, root, program)
    if way is Way.RESOLVCONF and program is None:
        raise NamesError("openresolv is not installed", "install the package openresolv, or choose another `dns:`")
    if way is Way.FILE:
        return _by_file(seen, own, root)
    choice = Choice(way, program=program if way is Way.RESOLVCONF else None)
    if not _leads_to(own, seen, root):
        return choice
    why = f"{RESOLV_CONF} leads to {_shown(own)}, which nobody writes any more"
    return replace(choice, warning=why, hint=f"put another {RESOLV_CONF} there, or choose `dns: file`")


def _by_file(seen: _Seen | None, own: Path, root: Path) -> Choice:
    path = _file(seen, own, root)
    choice = Choice(Way.FILE, path=path)
    if not _leads_to(path, seen, root):
        why = f"{RESOLV_CONF} does not lead to {_shown(path)}: only who is told to reads it, as a dnsmasq may be"
        return replace(choice, warning=why, hint=f"{_link(path)}, unless one is told so")
    if seen is not None and seen.text and not seen.begins(MARKER):
        why = f"{_shown(path)} is not failover's any more: names do not follow the uplink"
        return replace(choice, warning=why, hint=f"rm {_shown(path)}, then `failover reload`")
    return choice


def _auto(seen: _Seen | None, own: Path, root: Path, program: str | None) -> Choice:
    if _is_elsewhere(root):
        return _none("the agent runs in a network of its own", "say which `dns:` if the resolver is in it, too")
    if seen is None:
        return _none("there is no /etc/resolv.conf", f"{_link(own)}, then `failover reload`")
    if seen.target in STUBS or seen.servers == {STUB}:
        return Choice(Way.RESOLVED)
    if seen.target == DIRECT:
        return _none("/etc/resolv.conf leads past systemd-resolved", f"ln -sf {STUBS[0]} {RESOLV_CONF}")
    if program is not None and _is_by_resolvconf(seen):
        return Choice(Way.RESOLVCONF, program=program)
    if seen.begins(MARKER) or _leads_to(own, seen, root):
        return _by_file(seen, own, root)
    return _none(_writer(seen), f"use systemd-resolved, or keep a copy, {_link(own)}, then `failover reload`")


def _file(seen: _Seen | None, own: Path, root: Path) -> Path:
    """/etc/resolv.conf itself where it was handed over to us."""
    handed_over = seen is not None and seen.target == RESOLV_CONF and seen.begins(MARKER)
    return root / RESOLV_CONF.relative_to("/") if handed_over else own


def _leads_to(path: Path, seen: _Seen | None, root: Path) -> bool:
    return seen is not None and root / seen.target.relative_to("/") == path


def _link(path: Path) -> str:
    return f"`ln -sf {_shown(path)} {RESOLV_CONF}`"


def _shown(path: Path) -> str:
    return clean(str(path), 400)


def _none(why: str, hint: str) -> Choice:
    return Choice(Way.NONE, warning=f"name servers do not follow the uplink: {why}", hint=hint)


def _writer(seen: _Seen) -> str:
    if seen.target != RESOLV_CONF:
        return f"/etc/resolv.conf is a link to {clean(str(seen.target))}"
    if seen.begins("# Generated by NetworkManager"):
        return "NetworkManager writes /etc/resolv.conf"
    return "/etc/resolv.conf is somebody else's"


def _is_by_resolvconf(seen: _Seen | None) -> bool:
    return seen is not None and seen.begins("# Generated by resolvconf")


def _is_elsewhere(root: Path) -> bool:
    """Whether this is another network namespace than that of the machine's services, to which ifindexes mean other
    links. Who may not know is no such case: a service of an ordinary user."""
    try:
        return not os.path.samefile(root / "proc/self/ns/net", root / "proc/1/ns/net")
    except OSError:
        return False


def _look(root: Path) -> _Seen | None:
    """None: there is no such file."""
    place = root / RESOLV_CONF.relative_to("/")
    target = RESOLV_CONF
    if place.is_symlink():
        target = PurePosixPath(os.path.normpath(RESOLV_CONF.parent / os.readlink(place)))
    try:
        text = files.tail(root / target.relative_to("/"), BYTES_MAX).decode("utf-8", "replace")
    except FileNotFoundError:
        return _Seen(target, "") if target != RESOLV_CONF else None
    except OSError:
        text = ""
    return _Seen(target, text)
