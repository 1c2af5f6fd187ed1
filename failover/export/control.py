"""The control socket: JSON lines on a unix socket, served in the agent's loop.

What a line may ask is the table in commands.py; what it means is the agent's `Answerer`. Here: who may connect and
write, and that no client can cost the agent more than 64 KiB, five seconds and one of sixteen places, nor who may only
read the place of who may write, nor all of them together more than one request in a turn of the loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import grp
import json
import os
import socket
import stat
import struct
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from failover.export.clients import Clients
from failover.export.commands import COMMANDS, Spec, parse
from failover.export.log import Say
from failover.export.stream import Stream
from failover.model import ControlError

LINE_LIMIT: Final = 64 << 10
CLIENTS_MAX: Final = 16
PATIENCE: Final = 5.0
"""Seconds that a client has to complete a request, and to take the answer."""
IDLE: Final = 0.5
"""Seconds after which a client that has asked nothing yet gives way to any other."""
PATH_MAX: Final = 107
"""Bytes of sun_path less its terminator (unix(7))."""
READERS_GROUP: Final = "failover"
WRITERS_GROUP: Final = "failover-admin"
_SO_PEERGROUPS: Final = 59
_GROUPS_BYTES: Final = 1024
"""The most that Python's getsockopt takes: 256 groups; who is in more is judged by the primary group alone."""

Answerer = Callable[[Spec, Mapping[str, object]], Awaitable[Mapping[str, object]]]
"""Answers a checked request with the fields of its reply, or raises ControlError."""


@dataclass(frozen=True, slots=True)
class Peer:
    """Who connected, as the kernel noted it at connect time."""

    pid: int
    uid: int
    groups: frozenset[int]


def peer_of(connection: socket.socket) -> Peer:
    """SO_PEERCRED and SO_PEERGROUPS of a connected unix socket."""
    pid, uid, gid = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    try:
        raw = connection.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, _GROUPS_BYTES)
    except OSError:
        raw = b""
    return Peer(pid, uid, frozenset((gid, *struct.unpack(f"{len(raw) // 4}I", raw))))


def group_id(name: str) -> int | None:
    """The number of a group; None where there is no such group."""
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        return None


def may_write(peer: Peer, agent_uid: int, writers: int | None) -> bool:
    """Root, the agent's own user, or a member of the writers' group."""
    return peer.uid in (0, agent_uid) or (writers is not None and writers in peer.groups)


class Control:
    """The server. `start` raises ControlError when the path cannot be had; `stop` takes the socket away again."""

    def __init__(self, path: Path, answer: Answerer, say: Say, writers: int | None = None) -> None:
        self._path = path
        self._answer = answer
        self._say = say
        self._writers = group_id(WRITERS_GROUP) if writers is None else writers
        self._server: asyncio.Server | None = None
        self._clients = Clients(CLIENTS_MAX, IDLE)
        self._turns = Turns()
        self._stream = Stream(self._draw)
        self._identity: tuple[int, int] | None = None
        self._renewal: asyncio.Task[None] | None = None
        self._trouble = ""

    async def start(self) -> None:
        """Bind and listen; ControlError when the path cannot be had."""
        listener = _bind(self._path)
        found = os.stat(self._path)
        self._identity = (found.st_dev, found.st_ino)
        readers = group_id(READERS_GROUP)
        if readers is not None:
            try:
                os.chown(self._path, -1, readers)
            except OSError as error:
                self._say("warning", f"{self._path} cannot be given to group {READERS_GROUP}: {error.strerror}")
        # without descriptors, asyncio fails to accept `backlog` times in a row and reports each: a hundred by default
        self._server = await asyncio.start_unix_server(
            self._connected, sock=listener, limit=LINE_LIMIT, backlog=CLIENTS_MAX
        )

    def publish(self, entry: Mapping[str, object]) -> None:
        """Tell every watcher what happened; `entry` as `Entry.document` makes it. Never waits."""
        self._stream.publish(entry)

    def keep(self) -> None:
        """Make the socket anew when its file is gone. Whatever else is there stays, and is said once."""
        if self._server is None or (self._renewal is not None and not self._renewal.done()):
            return
        try:
            found = os.lstat(self._path)
        except FileNotFoundError:
            self._server.close()
            self._renewal = asyncio.ensure_future(self._renew())
        except OSError as error:
            self._troubled(f"{self._path} cannot be looked at: {error.strerror}")
        else:
            foreign = (found.st_dev, found.st_ino) != self._identity
            self._troubled(f"{self._path} is not our control socket any more; remove it" if foreign else "")

    async def _renew(self) -> None:
        try:
            await self.start()
        except ControlError as error:
            self._troubled(str(error))
        else:
            self._trouble = ""
            self._say("warning", f"{self._path} was gone; made anew")

    def _troubled(self, trouble: str) -> None:
        if trouble and trouble != self._trouble:
            self._say("warning", trouble)
        self._trouble = trouble

    async def stop(self) -> None:
        """End every connection and remove the socket, if it is still ours."""
        if self._server is None:
            return
        if self._renewal is not None:
            await self._renewal
        self._server.close()
        self._server = None
        self._stream.end()
        with contextlib.suppress(OSError):
            found = os.stat(self._path)
            if (found.st_dev, found.st_ino) == self._identity:
                self._path.unlink()
        await self._clients.end()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with self._clients.connection(writer):
            peer = peer_of(writer.get_extra_info("socket"))
            if self._clients.admit(yields=not may_write(peer, os.geteuid(), self._writers)):
                await self._serve(reader, writer, peer)
            else:
                await _refuse(writer, ControlError(f"{CLIENTS_MAX} clients are connected", "try again"))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, peer: Peer) -> None:
        """Answers line by line, one in each turn of the loop, until the client leaves, is too slow or too long."""
        while True:
            try:
                async with asyncio.timeout(PATIENCE):
                    line = await reader.readuntil(b"\n")
            except asyncio.IncompleteReadError:
                return
            except asyncio.LimitOverrunError:
                await _refuse(writer, ControlError(f"the request is longer than {LINE_LIMIT} bytes"))
                return
            await self._turns.mine()
            try:
                spec, arguments = parse(_decode(line))
                self._check(spec, peer)
                if spec.streams:
                    await self._watched(reader, writer)
                    return
                reply = {"ok": True, **await self._answer(spec, arguments)}
            except ControlError as error:
                reply = _refusal(error)
            await self._turns.mine()  # many may have waited for the same thing
            await _send(writer, _line(reply))

    def _check(self, spec: Spec, peer: Peer) -> None:
        self._clients.asked()
        if (spec.writes or spec.private) and not may_write(peer, os.geteuid(), self._writers):
            hint = f"be root, the agent's user, or a member of group {WRITERS_GROUP}"
            why = f"{spec.private}, not for user {peer.uid}" if spec.private else f"user {peer.uid} may only read"
            raise ControlError(f"{spec.name}: {why}", hint)

    async def _draw(self) -> bytes:
        return _line(await self._answer(COMMANDS["status"], {}))

    async def _watched(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._clients.yield_place()
        await _send(writer, b'{"ok": true}\n')
        if not await self._stream.serve(reader, writer):
            await _refuse(writer, ControlError("a watcher has no more to ask", "use another connection"))


class Turns:
    """Lets one task through in each turn of the loop, in the order of their coming."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()

    async def mine(self) -> None:
        """Wait for a turn that is of nobody else; it lasts until the next `await`."""
        async with self._lock:
            await asyncio.sleep(0)


def _decode(line: bytes) -> object:
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ControlError("the request is not a line of JSON", 'as {"command": "status"}') from error


def _refusal(error: ControlError) -> dict[str, object]:
    return {"ok": False, "error": str(error), "hint": error.hint}


def _line(reply: Mapping[str, object]) -> bytes:
    return json.dumps(reply, allow_nan=False).encode() + b"\n"


async def _refuse(writer: asyncio.StreamWriter, error: ControlError) -> None:
    await _send(writer, _line(_refusal(error)))


async def _send(writer: asyncio.StreamWriter, line: bytes) -> None:
    """Writes one line and waits until the kernel has all of it; TimeoutError when the client does not read."""
    writer.transport.set_write_buffer_limits(high=0)
    writer.write(line)
    async with asyncio.timeout(PATIENCE):
        await writer.drain()


def _bind(path: Path) -> socket.socket:
    """A listening socket at `path`, 0660. A stale socket there gives way; a live one, or any other file, does not."""
    if len(os.fsencode(path)) > PATH_MAX:
        raise ControlError(f"the socket path {path} is longer than {PATH_MAX} bytes", "choose another with --socket")
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    mask = os.umask(0o117)  # 0660 from its first moment on
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _clear(path)
        listener.bind(str(path))
        listener.listen(CLIENTS_MAX)
    except OSError as error:
        listener.close()
        raise ControlError(f"no control socket at {path}: {error.strerror}", "choose another with --socket") from error
    except ControlError:
        listener.close()
        raise
    finally:
        os.umask(mask)
    return listener


def _clear(path: Path) -> None:
    """Unlinks a stale socket at `path`."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise ControlError(f"{path} exists and is no socket", "choose another with --socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as knock:
        code = knock.connect_ex(str(path))
    if code in (0, errno.EAGAIN):
        raise ControlError(f"another agent answers at {path}", "stop it first, or choose another with --socket")
    path.unlink()
