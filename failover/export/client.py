"""The client side of the control socket: one request, and its reply or its stream.

Light: the command line loads it at every call.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
from collections.abc import Generator, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from failover.model import ControlError, clean

DEFAULT_SOCKET: Final = "/run/failover/control.sock"
UNITS: Final = tuple(
    f"{folder}/systemd/system/failover.service" for folder in ("/etc", "/run", "/usr/local/lib", "/usr/lib", "/lib")
)
"""Where systemd has a unit from (systemd.unit(5), Unit File Load Path)."""
REPLY_LIMIT: Final = 4 << 20
"""Bytes of one reply: 60 uplinks with 20 targets each take a quarter of it."""


def socket_path(given: str | None = None) -> Path:
    """`--socket`, else FAILOVER_SOCKET, else the default. ControlError when that can only be a directory."""
    path = Path(given or os.environ.get("FAILOVER_SOCKET") or DEFAULT_SOCKET)
    if path.name in ("", ".."):
        raise ControlError(f"no control socket at {path}: Is a directory", "choose another with --socket")
    return path


def call(path: Path, command: str, arguments: Mapping[str, object], timeout: float = 20.0) -> dict[str, Any]:
    """Sends one command and gives its reply; ControlError when the agent refuses or does not answer in `timeout` s."""
    with contextlib.closing(_exchange(path, command, arguments, timeout)) as replies:
        for reply in replies:
            return reply
    raise ControlError(f"the agent at {clean(str(path))} hung up without an answer", "its log says why")


def stream(
    path: Path, command: str, arguments: Mapping[str, object], timeout: float = 20.0
) -> Generator[dict[str, Any], None, None]:
    """What follows the answer to a command that streams, until it is closed; never ends by itself.

    ControlError as of `call`, when nothing comes for `timeout` s, and when the agent ends it.
    """
    with contextlib.closing(_exchange(path, command, arguments, timeout)) as replies:
        for number, reply in enumerate(replies):
            if number > 0:
                yield reply
    raise ControlError(f"the agent at {clean(str(path))} hung up", "it stopped, or dropped a slow reader; see its log")


def _exchange(
    path: Path, command: str, arguments: Mapping[str, object], timeout: float
) -> Generator[dict[str, Any], None, None]:
    """Every line that the agent sends after a request; ControlError when it refuses, or is silent for `timeout` s."""
    request = json.dumps({"command": command, **arguments}).encode() + b"\n"
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(timeout)
            connection.connect(str(path))
            with contextlib.suppress(BrokenPipeError):  # refused unread (too many clients): the reason is there
                connection.sendall(request)
            for number, line in enumerate(_lines(connection)):
                yield _decode(path, line, first=number == 0)
    except OSError as error:
        raise _unreachable(path, error) from error


def _lines(connection: socket.socket) -> Iterator[bytes]:
    """One line after another; the last may be cut off."""
    with connection.makefile("rb") as received:
        while line := received.readline(REPLY_LIMIT):
            yield line


def _decode(path: Path, line: bytes, *, first: bool) -> dict[str, Any]:
    try:
        reply = json.loads(line)
    except ValueError as error:
        what = f"the answer from {clean(str(path))} is not JSON"
        raise ControlError(what, "is it the control socket of failover?") from error
    if not isinstance(reply, dict) or not reply.get("ok", not first):
        found = reply if isinstance(reply, dict) else {}
        raise ControlError(str(found.get("error", "the agent gave no reason")), str(found.get("hint", "")))
    return reply


def _unreachable(where: Path, error: OSError) -> ControlError:
    path = clean(str(where), 1000)
    start = f"{_mend()}, or name its socket with --socket"
    match error:
        case FileNotFoundError():
            return ControlError(f"no agent here: there is no {path}", start)
        case ConnectionRefusedError():
            return ControlError(f"no agent here: nobody listens at {path}", start)
        case PermissionError():
            return ControlError(f"no permission for {path}", "run as root or as a member of group failover")
        case BlockingIOError():
            return ControlError(f"too many wait for the agent at {path}", "try again")
        case TimeoutError():
            return ControlError(f"the agent at {path} does not answer", "its log says what it is doing")
    return ControlError(f"cannot talk to {path}: {error.strerror or error}", start)


def _mend() -> str:
    """What to do about an agent that is not there: as a service it should be, and has left word why it is not."""
    if any(map(os.path.exists, UNITS)):
        return "`systemctl status failover` and `journalctl -u failover` say why"
    return "start it with `failover run`"
