"""Checks of the places where the agent is met: its control socket, its metrics port."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
import time
from pathlib import Path
from typing import Final

from failover import __version__
from failover.doctor.case import Case
from failover.doctor.finding import Remark, Remarks, failure, note, ok, warning
from failover.export.instance import agents_here
from failover.model import ControlError, clean

SCRAPE_SECONDS: Final = 1.0
SCRAPE_LIMIT: Final = 4 << 20
START: Final = "systemctl start failover; `journalctl -u failover` says why it ended"
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
        yield _silent(case.socket, case.silence, START if case.systemd_starts else "")


def _answering(case: Case) -> Remarks:
    version = clean(str(case.agent.get("version", "")))
    yield ok(f"it runs (pid {case.agent.get('pid')}, version {version}) and answers")
    if version != __version__:
        yield note(f"it is version {version}, and this is {__version__}", "restart it: routes stay meanwhile")
    if case.refused is not None:
        first, *more = case.refused or ("it did not say why",)
        text = f"it goes by an older config, as it refused the file: {first}"
        yield warning(f"{text}; and {len(more)} more" if more else text, "mend the file, then `failover reload`")


def _silent(path: Path, error: ControlError, start: str) -> Remark:
    match error.__cause__:
        case FileNotFoundError():
            return note("none runs", start or error.hint)
        case PermissionError():
            return note(str(error), error.hint)
        case ConnectionRefusedError() if not stat.S_ISSOCK(os.lstat(path).st_mode):
            return failure(f"{path} is no socket, so no agent can listen there", "remove it, or choose with --socket")
        case ConnectionRefusedError():
            text = f"none runs; {path} is left of one that died, and routes stay as it left them"
            return note(text, start or "start it again: it takes up what is there")
    return failure(str(error), error.hint)


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
        yield warning(f"{listen} cannot be had: {fault.strerror or fault}", "choose another with metrics.listen")


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
    """Whether an agent's metrics are there."""
    return OURS in page(host, port)


def page(host: str, port: int) -> bytes:
    """What is served there, as far as it comes in time: a server that says little by little is not waited for."""
    deadline, got = time.monotonic() + SCRAPE_SECONDS, b""
    with contextlib.suppress(OSError), socket.create_connection((host, port), timeout=SCRAPE_SECONDS) as connection:
        connection.sendall(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        while (left := deadline - time.monotonic()) > 0 and len(got) < SCRAPE_LIMIT:
            connection.settimeout(left)
            data = connection.recv(65536)
            if not data:
                break
            got += data
    return got


def _holder(port: int) -> str:
    """Who listens there, as far as this user may know."""
    import psutil

    for connection in psutil.net_connections("tcp"):
        taken = connection.status == psutil.CONN_LISTEN and tuple(connection.laddr)[1:] == (port,)
        if taken and connection.pid:
            with contextlib.suppress(psutil.Error):
                return f"{clean(psutil.Process(connection.pid).name(), 32)} (pid {connection.pid})"
    return "somebody else"
