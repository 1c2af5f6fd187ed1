"""As whom the agent runs, and what that user may do with a file by its mode bits. Nothing is judged here."""

from __future__ import annotations

import os
import pwd
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from failover.doctor.case import Case

SERVICE: Final = "failover"
"""User= of the unit."""
CAP_DAC_OVERRIDE: Final = 1
"""Bit of linux/capability.h."""
READ, WRITE, ENTER = 4, 2, 1
"""Bits of a mode, of one class of users."""


@dataclass(frozen=True, slots=True)
class User:
    """Somebody who opens files."""

    name: str
    uid: int
    groups: frozenset[int]
    may_all: bool
    """Whether modes do not concern it, as they do not root."""

    def may(self, found: os.stat_result, wanted: int) -> bool:
        """Whether the mode lets it do that: the bits of the first class that it is in count."""
        mine = found.st_uid == self.uid
        shift = 6 if mine else 3 if found.st_gid in self.groups else 0
        return self.may_all or found.st_mode >> shift & wanted == wanted


def of_agent(case: Case) -> User | None:
    """That of the agent that runs; else that of the service, whose control socket this is. None: nobody knows."""
    if case.pid is not None:
        return _of_process(case.pid)
    return _of_name(SERVICE) if case.of_service and not case.runs else None


def _of_process(pid: int) -> User | None:
    """See proc(5)."""
    try:
        rows = dict(row.split(":", 1) for row in Path(f"/proc/{pid}/status").read_text().splitlines())
    except OSError:
        return None
    uid, gid = int(rows["Uid"].split()[3]), int(rows["Gid"].split()[3])
    groups = frozenset((gid, *map(int, rows["Groups"].split())))
    return User(name_of(uid), uid, groups, bool(int(rows["CapEff"], 16) >> CAP_DAC_OVERRIDE & 1))


def _of_name(name: str) -> User | None:
    try:
        found = pwd.getpwnam(name)
    except KeyError:
        return None
    groups = frozenset(os.getgrouplist(name, found.pw_gid))
    return User(name, found.pw_uid, groups, found.pw_uid == 0)


def name_of(uid: int) -> str:
    """For people: the number where there is no name."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def told(found: os.stat_result) -> str:
    """Whose it is, and its mode, for people."""
    return f"{name_of(found.st_uid)} owns it, mode {stat.S_IMODE(found.st_mode):04o}"
