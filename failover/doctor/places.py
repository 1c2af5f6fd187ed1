"""Checks of the places that the agent uses: its control socket, its directories, its metrics port."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
import tempfile
import time
from pathlib import Path
from typing import Final

from failover import __version__
from failover.doctor.case import Case
from failover.doctor.finding import Remark, Remarks, failure, note, ok, warning
from failover.doctor.machine import AS_ROOT
from failover.export.instance import agents_here
from failover.model import ControlError, clean

ROOM: Final = 16 << 20
"""Bytes: the journal's 5 MB twice while it is rewritten, and the memory beside it."""
TRIAL_BYTES: Final = 64 << 10
SCRAPE_SECONDS: Final = 1.0
SCRAPE_LIMIT: Final = 4 << 20
OURS: Final = b"failover_build_info"


# --- the control socket ----------------------------------------------------------------------------------------------


def agent(case: Case) -> Remarks:
    """Whether an agent answers, and what is in its place where none does."""
    if case.status is not None:
        yield from _answering(case)
        return
    assert case.silence is not None
    here = [f" (pid {pid})" if pid else "" for pid in agents_here()]
    if here:
        text = f"an agent{here[0]} serves this network namespace, but not at {case.socket}: {case.silence}"
        yield warning(text, "name its control socket with --socket")
    else:
        yield _silent(case.socket, case.silence)


def _answering(case: Case) -> Remarks:
    version = clean(str(case.agent.get("version", "")))
    yield ok(f"it runs (pid {case.agent.get('pid')}, version {version}) and answers")
    if version != __version__:
        yield note(f"it is version {version}, and this is {__version__}", "restart it: routes stay meanwhile")


def _silent(path: Path, error: ControlError) -> Remark:
    match error.__cause__:
        case FileNotFoundError():
            return note("none runs", error.hint)
        case PermissionError():
            return note(str(error), error.hint)
        case ConnectionRefusedError() if not stat.S_ISSOCK(os.lstat(path).st_mode):
            return failure(f"{path} is no socket, so no agent can listen there", "remove it, or choose with --socket")
        case ConnectionRefusedError():
            text = f"none runs; {path} is left of one that died, and routes stay as it left them"
            return note(text, "start it again: it takes up what is there")
    return failure(str(error), error.hint)


# --- directories -----------------------------------------------------------------------------------------------------


def state_directory(case: Case) -> Remarks:
    """Without it the agent goes on, and forgets: the operator's will, what was noted of sysctls, the journal."""
    fault = _fault(case.state)
    if fault is not None and fault.errno in (errno.EACCES, errno.EPERM) and os.geteuid() != 0:
        yield note(f"this user may not write to {case.state}, so it was not tried", AS_ROOT)
    elif fault is not None:
        text = f"{case.state}: {_words(fault)}; what the agent remembers is lost when it stops"
        yield warning(text, _mend(fault, "--state"))
    elif not case.state.exists():
        yield note(f"there is no {case.state} yet; the agent makes it")
    elif (left := _left(case.state)) < ROOM:
        text = f"{left >> 20} MB are left in {case.state}, and the agent may want {ROOM >> 20}"
        yield warning(text, "make room on that file system")
    else:
        yield ok(f"{case.state} can be written to")


def socket_directory(case: Case) -> Remarks:
    """Without it there is no agent: its lock and its control socket are there."""
    place = case.socket.parent
    fault = None if case.runs else _fault(place)
    if fault is None:
        what = "has the control socket" if case.runs else "can be written to" if place.exists() else "can be made"
        yield ok(f"{place} {what}")
    elif fault.errno in (errno.EACCES, errno.EPERM) and os.geteuid() != 0:
        yield note(f"this user may not write to {place}, so it was not tried", AS_ROOT)
    else:
        yield failure(f"{place}: {_words(fault)}; the agent cannot start", _mend(fault, "--socket"))


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


def _words(fault: OSError) -> str:
    return fault.strerror or str(fault)


def _mend(fault: OSError, option: str) -> str:
    mends = {
        errno.ENOSPC: "make room on that file system",
        errno.EDQUOT: "raise the quota",
        errno.EROFS: "mount it for writing: mount -o remount,rw",
        errno.ENOTDIR: "it is a file: remove it",
    }
    return f"{mends.get(fault.errno or 0, 'have a look at it')}, or name another place with {option}"


def _left(place: Path) -> int:
    """Bytes that an ordinary user can still write."""
    told = os.statvfs(place)
    return told.f_bavail * told.f_frsize


# --- metrics ---------------------------------------------------------------------------------------------------------


def metrics(case: Case) -> Remarks:
    """Whether the port is free, or the agent's own."""
    listen = case.config.metrics.listen
    if listen is None:
        yield ok("not served, as the config says")
        return
    host, _, port = listen.rpartition(":")
    fault = _bound(host.strip("[]"), int(port))
    if fault is None and case.runs:
        yield warning(f"the agent does not serve them at {listen}", "`failover reload`; its log says why")
    elif fault is None:
        yield ok(f"{listen} is free")
    elif fault.errno == errno.EADDRINUSE:
        yield _in_use(case, listen, _is_ours(host.strip("[]"), int(port)))
    else:
        yield warning(f"{listen} cannot be had: {_words(fault)}", "choose another with metrics.listen")


def _in_use(case: Case, listen: str, ours: bool) -> Remark:
    if ours and case.runs:
        return ok(f"the agent serves them at {listen}")
    if ours:
        return warning(f"another agent serves them at {listen}", "name its control socket with --socket")
    mend = "stop it, or choose another with metrics.listen"
    return warning(f"{listen} is in use by {_holder(int(listen.rpartition(':')[2]))}: no metrics", mend)


def _bound(host: str, port: int) -> OSError | None:
    """What binding there comes to; nobody is listened to."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            trial.bind(address)
    except OSError as error:
        return error
    return None


def _is_ours(host: str, port: int) -> bool:
    """Whether an agent's metrics are there; a server that says little by little is not waited for."""
    deadline, page = time.monotonic() + SCRAPE_SECONDS, b""
    with contextlib.suppress(OSError), socket.create_connection((host, port), timeout=SCRAPE_SECONDS) as connection:
        connection.sendall(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        while (left := deadline - time.monotonic()) > 0 and len(page) < SCRAPE_LIMIT:
            connection.settimeout(left)
            data = connection.recv(65536)
            if not data:
                break
            page += data
    return OURS in page


def _holder(port: int) -> str:
    """Who listens there, as far as this user may know."""
    import psutil

    for connection in psutil.net_connections("tcp"):
        taken = connection.status == psutil.CONN_LISTEN and tuple(connection.laddr)[1:] == (port,)
        if taken and connection.pid:
            with contextlib.suppress(psutil.Error):
                return f"{clean(psutil.Process(connection.pid).name(), 32)} (pid {connection.pid})"
    return "somebody else"
