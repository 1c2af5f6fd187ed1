"""Checks of what the agent writes: its state directory and what is in it, the directory of its control socket."""

from __future__ import annotations

import errno
import os
import stat
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from failover.config.source import KEPT
from failover.doctor import user
from failover.doctor.case import Case
from failover.doctor.finding import Remarks, failure, note, ok, warning
from failover.doctor.machine import AS_ROOT
from failover.doctor.places import page
from failover.doctor.user import ENTER, READ, WRITE
from failover.export import journal, memory, messages
from failover.export.instance import lock_of
from failover.export.memory import Stamp
from failover.kernel.ledger import LEDGER
from failover.model import clean

ROOM: Final = 16 << 20
"""Bytes: the journal's 5 MB twice while it is rewritten, and the memory beside it."""
TRIAL_BYTES: Final = 64 << 10
FILES: Final = (journal.CURRENT, journal.OLD, memory.NAME, KEPT, messages.NAME)
"""What the agent reads and writes in its state directory."""
MAKE_ROOM: Final = "make room on that file system"
FAILED: Final = b"\nfailover_journal_ok 0"
"""In the agent's metrics (metrics.py)."""


def state_directory(case: Case) -> Remarks:
    """Without it the agent goes on, and forgets: the operator's will, what happened."""
    found = list(_room(case.state))
    if os.path.isdir(case.state):
        found += [warning(text, mend) for text, mend in _shut(case, case.state, FILES)]
        found += [*_unreadable(case.state), *_failing(case)]
    yield from found or [ok(f"{case.state} can be written to")]


def _room(place: Path) -> Remarks:
    """Whether this process can write there."""
    fault = _fault(place)
    if fault is not None and _not_for_us(fault):
        yield note(f"this user may not write to {place}, so it was not tried", AS_ROOT)
    elif fault is not None:
        text = f"{place}: {_words(fault)}; what the agent remembers is lost when it stops"
        yield warning(text, _mend(fault, "--state"))
    elif not place.exists():
        yield note(f"there is no {place} yet; the agent makes it")
    elif (left := _left(place)) < ROOM:
        yield warning(f"{left >> 20} MB are left in {place}, and the agent may want {ROOM >> 20}", MAKE_ROOM)


def _unreadable(place: Path) -> Remarks:
    """What an agent that starts would say of its files."""
    _, complaint = memory.load(place / memory.NAME, Stamp.now(time.time(), trusted=False))
    if complaint and os.access(place / memory.NAME, os.R_OK):
        yield warning(
            complaint, "remove it: the agent writes it anew, and an operator's `use` or `drain` has to be given again"
        )
    try:
        journal.read(place, limit=1)
    except PermissionError:
        pass  # said of the directory
    except OSError as error:
        text = f"the journal in {place} cannot be read: {clean(_words(error))}"
        yield warning(text, f"remove what stands there as {journal.CURRENT} or {journal.OLD}")
    try:
        messages.read(place)
    except PermissionError:
        pass  # nobody else's to read, or said of the file
    except OSError as error:
        text = f"{place / messages.NAME}: {clean(_words(error))}; messages are not kept, and stay on their SIMs"
        yield warning(text, "remove what stands there: the agent makes the file anew")


def _failing(case: Case) -> Remarks:
    """What the agent that runs says of its last write."""
    listen = case.config.metrics.listen
    if case.runs and listen is not None:
        host, _, port = listen.rpartition(":")
        if FAILED in page(host.strip("[]"), int(port)):
            text = "the agent's last write there failed: what happens is kept in its memory, and lost when it stops"
            yield warning(text, "its log says why; it tries again by itself")


def socket_directory(case: Case) -> Remarks:
    """Without it there is no agent: its lock and its control socket are there."""
    place = case.socket.parent
    fault = None if case.runs else _fault(place)
    shut = [] if case.runs else [*_shut(case, place, [lock_of(case.socket).name])]
    if fault is not None and _not_for_us(fault):
        yield note(f"this user may not write to {place}, so it was not tried", AS_ROOT)
    elif fault is not None:
        yield failure(f"{place}: {_words(fault)}; the agent cannot start", _mend(fault, "--socket"))
    elif not shut:
        what = "has the control socket" if case.runs else "can be written to" if place.exists() else "can be made"
        yield ok(f"{place} {what}")
    yield from (failure(f"{text}; it cannot start", mend) for text, mend in shut)
    yield from (warning(f"{text}; it sets no sysctl", mend) for text, mend in _shut(case, place, [LEDGER]) if not shut)


def _fault(place: Path) -> OSError | None:
    """What writing there, or to the nearest directory above that is there, comes to; nothing is left behind."""
    try:
        while not place.exists() and place != place.parent:
            place = place.parent
        with tempfile.TemporaryFile(dir=place) as trial:
            trial.write(bytes(TRIAL_BYTES))
            trial.flush()
    except OSError as error:
        return error
    return None


def _not_for_us(fault: OSError) -> bool:
    return fault.errno in (errno.EACCES, errno.EPERM) and os.geteuid() != 0


def _shut(case: Case, folder: Path, names: Iterable[str]) -> Iterator[tuple[str, str]]:
    """What the user that runs the agent may not use there, and the mend of each; the files only where the folder is
    open to it. A folder that is not its own systemd gives it, with all that is in it, before it starts."""
    agent = user.of_agent(case)
    if agent is None:
        return
    for path in (folder, *(folder / name for name in names)):
        with suppress(OSError):
            found = path.lstat()
            wanted = READ | WRITE | (ENTER if stat.S_ISDIR(found.st_mode) else 0)
            if agent.may(found, wanted):
                continue
            if not (path == folder and case.systemd_starts):
                text = f"{path} is shut to user {agent.name}, as whom the agent runs: {user.told(found)}"
                yield text, f"chown {agent.name}: {path}; chmod u+rwX {path}"
            if path == folder:
                return


def _words(fault: OSError) -> str:
    return fault.strerror or str(fault)


def _mend(fault: OSError, option: str) -> str:
    mends = {
        errno.ENOSPC: MAKE_ROOM,
        errno.EDQUOT: "raise the quota",
        errno.EROFS: "mount it for writing: mount -o remount,rw",
        errno.ENOTDIR: "it is a file: remove it",
    }
    return f"{mends.get(fault.errno or 0, 'have a look at it')}, or name another place with {option}"


def _left(place: Path) -> int:
    """Bytes that an ordinary user can still write."""
    told = os.statvfs(place)
    return told.f_bavail * told.f_frsize
