"""The check of the box's resolver: whether it can be told whom to ask, and by which way."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from failover.doctor import polkit, user
from failover.doctor.case import Case
from failover.doctor.finding import Remark, Remarks, note, ok, warning
from failover.names.backend import NamesError
from failover.names.choose import Choice, likely
from failover.names.ways import OWN
from failover.resolvers import Way

ACTION: Final = "org.freedesktop.resolve1.set-dns-servers"
"""One of those that systemd/failover.rules allows."""
TOLD: Final = {
    Way.RESOLVED: "systemd-resolved is told whom to ask",
    Way.RESOLVCONF: "openresolv is told whom to ask",
    Way.FILE: "a file is written, which says whom to ask",
}


def resolver(case: Case, root: Path = Path("/")) -> Remarks:
    """What the agent that runs says of it; else what one would find. `root`: where the box's file system is."""
    told = case.status.get("names") if case.status else None
    if isinstance(told, dict):
        yield from _as_told(told)
        return
    try:
        choice = likely(case.config.dns.way, case.socket.parent / OWN, root)
    except NamesError as error:
        yield warning(f"names would not follow the uplink: {error}", error.hint)
        return
    yield _foreseen(case, choice, root)


def _as_told(told: Mapping[str, Any]) -> Remarks:
    for trouble in told["trouble"]:
        text, _, mend = str(trouble).rpartition("; ")
        yield warning(text or mend, mend if text else "`journalctl -u failover` tells more")
    if not told["trouble"]:
        yield _chosen(told["way"], told["text"], told["mend"])


def _foreseen(case: Case, choice: Choice, root: Path) -> Remark:
    runs_as = user.of_agent(case)
    if choice.way is Way.RESOLVED and runs_as is not None and not runs_as.may_all and polkit.unnamed((ACTION,), root):
        text = f"no polkit rule lets user {runs_as.name} tell systemd-resolved whom to ask"
        return warning(text, "install systemd/failover.rules as systemd/README.md says")
    return _chosen(choice.way.value, choice.warning, choice.hint)


def _chosen(way: str, text: str, mend: str) -> Remark:
    if text:
        return note(text, mend)
    return ok(TOLD.get(Way(way), "name servers are left as they are, as the config says"))
