"""The client side of the control socket: one request, one reply. Light: the command line loads it at every call."""

from __future__ import annotations

import contextlib
import json
import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from failover.model import ControlError, clean

DEFAULT_SOCKET: Final = "/run/failover/control.sock"
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
    request = json.dumps({"command": command, **arguments}).encode() + b"\n"
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(timeout)
            connection.connect(str(path))
            line = _exchange(connection, request)
    except OSError as error:
        raise _unreachable(path, error) from error
    if not line:
        raise ControlError(f"the agent at {clean(str(path))} hung up without an answer", "its log says why")
    try:
        reply = json.loads(line)
    except ValueError as error:
        what = f"the answer from {clean(str(path))} is not JSON"
        raise ControlError(what, "is it the control socket of failover?") from error
    if not isinstance(reply, dict) or not reply.get("ok"):
        found = reply if isinstance(reply, dict) else {}
        raise ControlError(str(found.get("error", "the agent gave no reason")), str(found.get("hint", "")))
    return reply


def _exchange(connection: socket.socket, request: bytes) -> bytes:
    """Sends the request and reads to the end of the first line."""
    with contextlib.suppress(BrokenPipeError):  # refused unread (too many clients): the reason can still be read
        connection.sendall(request)
    reply = bytearray()
    while b"\n" not in reply and len(reply) < REPLY_LIMIT:
        chunk = connection.recv(65536)
        if not chunk:
            break
        reply += chunk
    return bytes(reply)


def _unreachable(where: Path, error: OSError) -> ControlError:
    path = clean(str(where), 1000)
    start = "start it with `failover run`, or name its socket with --socket"
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
