"""ICMP echo probes: one raw socket per device and family, kept open.

Raw, because only raw sockets are handed the unreachable messages of routers as packets. Filters in the kernel keep
other programs' pings from waking us. What may not be here: reading bytes (packets.py), judging lateness.
"""

from __future__ import annotations

import asyncio
import errno
import secrets
import socket
import struct
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, assert_never

from failover.model import PROBE_PATIENCE, Family, Outcome, ProbeResult, SendProbe
from failover.probes import bound, errors, packets

RECEIVE_MAX: Final = 1500
"""Longest ICMP error: 576 bytes in IPv4 (RFC 1812), 1280 in IPv6 (RFC 4443)."""
READS_MAX: Final = 64
"""Packets read per wake-up; the loop comes back for the rest."""
REPLY_MAX: Final = {Family.IPV4: 60 + packets.ECHO_BYTES, Family.IPV6: packets.ECHO_BYTES}
"""Longest reply to an empty echo request, as the filter sees it: IPv4 with header and options, IPv6 without."""
_ICMP_FILTER = (255, 1)
_ICMPV6_FILTER = (58, 1)
"""(level, option) of linux/icmp.h and linux/icmpv6.h; a set bit blocks its type."""


def _programs() -> dict[Family, tuple[bound.Instruction, ...]]:
    """Unreachable messages, and echo replies that are as empty as ours; the X register holds the IPv4 header length."""
    load_header_length, load_type4, load_type6 = (0xB1, 0, 0, 0), (0x50, 0, 0, 0), (0x30, 0, 0, 0)
    load_length, accept, drop = (0x80, 0, 0, 0), (0x06, 0, 0, 0xFFFF), (0x06, 0, 0, 0)

    def tail(family: Family) -> tuple[bound.Instruction, ...]:
        unreachable, too_long = packets.UNREACHABLE[family], REPLY_MAX[family]
        return (0x15, 2, 0, unreachable), load_length, (0x25, 1, 0, too_long), accept, drop

    return {
        Family.IPV4: (load_header_length, load_type4, *tail(Family.IPV4)),
        Family.IPV6: (load_type6, *tail(Family.IPV6)),
    }


@dataclass(frozen=True, slots=True)
class _Line:
    """An open socket, the device that it is bound to, and the mark of what it sends."""

    socket: socket.socket
    family: Family
    interface: str
    index: int
    mark: int

    def transmit(self, request: bytes, host: str) -> None:
        """Send; the error queue is on only meanwhile, for what it says of others' packets is not wanted."""
        errors.watch_errors(self.socket, self.family)
        try:
            self.socket.sendto(request, (host, 0))
        finally:
            errors.watch_errors(self.socket, self.family, False)


@dataclass(frozen=True, slots=True)
class _Waiting:
    send: SendProbe
    at: float
    """Seconds of the loop's clock, which is the monotonic one."""
    timer: asyncio.TimerHandle


_Key = tuple[str, bytes, int, int]
"""Interface, packed target, id, sequence."""


def _unsent(send: SendProbe, error: OSError) -> ProbeResult:
    """What a probe comes to that the kernel did not take.

    IPv6 passes over a default whose router has not answered neighbour discovery (find_rr_leaf, net/ipv6/route.c), and
    what refuses next to it, as a floor that others put there, is no word about us: it is silence.
    """
    if send.family is Family.IPV6 and error.errno == errno.EHOSTUNREACH:
        return ProbeResult(send.id, Outcome.SILENT, detail=bound.MUTE_GATEWAY)
    return bound.local(send, error)


class Icmp:
    """Echo probes. `report` is called once per started probe, never from inside `start`."""

    def __init__(self, loop: asyncio.AbstractEventLoop, report: Callable[[ProbeResult], None]) -> None:
        self._loop = loop
        self._report = report
        self._lines: dict[tuple[str, Family], _Line] = {}
        self._waiting: dict[_Key, _Waiting] = {}
        self._programs = _programs()
        self.ignored: Counter[str] = Counter()
        """Packets that were no answer to an open probe: meaningless, unmatched."""

    def __len__(self) -> int:
        return len(self._waiting)

    def start(self, send: SendProbe) -> None:
        """Send one echo request; never blocks, never raises."""
        try:
            self._send(send)
        except OSError as error:
            self._loop.call_soon(self._report, _unsent(send, error))

    def _send(self, send: SendProbe) -> None:
        target = socket.inet_pton(bound.AF[send.family], send.target.host)
        bound.check_route(send.family, send.mark, send.target.host)
        line = self._line(send)
        key = self._fresh_key(send.interface, target)
        request = packets.echo_request(send.family, key[2], key[3])
        timer = self._loop.call_later(PROBE_PATIENCE, self._silent, key)
        self._waiting[key] = _Waiting(send, self._loop.time(), timer)
        try:
            line.transmit(request, send.target.host)
        except OSError:
            del self._waiting[key]
            timer.cancel()
            raise

    def _fresh_key(self, interface: str, target: bytes) -> _Key:
        while True:
            key = (interface, target, secrets.randbits(16), secrets.randbits(16))
            if key not in self._waiting:
                return key

    def _line(self, send: SendProbe) -> _Line:
        """The open socket of the probe's device; a device that has another index or mark now gets a new one."""
        index = socket.if_nametoindex(send.interface)
        name = (send.interface, send.family)
        line = self._lines.get(name)
        if line is not None and (line.index, line.mark) == (index, send.mark):
            return line
        if line is not None:
            self._drop(line)
        line = self._lines[name] = _Line(self._open(send), send.family, send.interface, index, send.mark)
        self._loop.add_reader(line.socket, self._readable, line)
        return line

    def _open(self, send: SendProbe) -> socket.socket:
        protocol = packets.ICMP if send.family is Family.IPV4 else packets.ICMPV6
        wanted = (packets.REPLY[send.family], packets.UNREACHABLE[send.family])
        opened = bound.open_bound(send, socket.SOCK_RAW, protocol)
        blocked = [~0] * 8
        for kind in wanted:
            blocked[kind // 32] &= ~(1 << kind % 32)
        mask = struct.pack("=8I", *(word & 0xFFFFFFFF for word in blocked))
        level, option = _ICMP_FILTER if send.family is Family.IPV4 else _ICMPV6_FILTER
        opened.setsockopt(level, option, mask[:4] if send.family is Family.IPV4 else mask)
        bound.attach_filter(opened, self._programs[send.family])
        opened.setsockopt(socket.SOL_SOCKET, bound.SO_TIMESTAMPNS, 1)
        return opened

    def _readable(self, line: _Line) -> None:
        for _ in range(READS_MAX):
            try:
                data, ancillary, _, address = line.socket.recvmsg(RECEIVE_MAX, bound.STAMP_SPACE)
            except OSError:
                return
            now, lag = self._loop.time(), bound.receive_lag(ancillary)
            self._received(line, data, str(address[0]), now, lag)

    def _received(self, line: _Line, data: bytes, sender: str, now: float, lag: float) -> None:
        match packets.read4(data) if line.family is Family.IPV4 else packets.read6(data, _packed6(sender)):
            case None:
                self.ignored["meaningless"] += 1
            case packets.Reply(source, ident, sequence, size):
                waiting = self._take((line.interface, source, ident, sequence))
                if waiting is not None:
                    rtt = bound.true_rtt(now - waiting.at, lag)
                    self._settle(waiting, Outcome.ANSWERED, rtt=rtt, received=size)
            case packets.Refusal(source, target, ident, sequence, code, size):
                waiting = self._take((line.interface, target, ident, sequence))
                if waiting is not None:
                    said = packets.unreachable_words(line.family, code)
                    rtt = bound.true_rtt(now - waiting.at, lag)
                    detail = f"{said}, says {socket.inet_ntop(bound.AF[line.family], source)}"
                    self._settle(waiting, Outcome.REFUSED, rtt=rtt, detail=detail, received=size)
            case packets.Undelivered(target, ident, sequence):
                waiting = self._take((line.interface, target, ident, sequence))
                if waiting is not None:
                    self._settle(waiting, Outcome.SILENT, detail=bound.MUTE_GATEWAY)
            case never:
                assert_never(never)

    def _take(self, key: _Key) -> _Waiting | None:
        waiting = self._waiting.pop(key, None)
        if waiting is None:
            self.ignored["unmatched"] += 1
        return waiting

    def _silent(self, key: _Key) -> None:
        """Its patience is over, unless the answer lies unread: the loop serves a timer before the sockets."""
        line = self._lines.get((key[0], self._waiting[key].send.family))
        if line is not None:
            self._readable(line)
        if key in self._waiting:
            self._settle(self._waiting.pop(key), Outcome.SILENT)

    def _settle(
        self, waiting: _Waiting, outcome: Outcome, *, rtt: float | None = None, detail: str = "", received: int = 0
    ) -> None:
        waiting.timer.cancel()
        sent = packets.IP_HEADER[waiting.send.family] + packets.ECHO_BYTES
        self._report(ProbeResult(waiting.send.id, outcome, rtt, detail, sent, received))

    def forget(self, interface: str) -> None:
        """Close the device's sockets; what is still out on it ends as `local`, soon."""
        for line in [line for line in self._lines.values() if line.interface == interface]:
            self._drop(line)
        for key in [key for key in self._waiting if key[0] == interface]:
            self._loop.call_soon(self._vanished, key)

    def _vanished(self, key: _Key) -> None:
        waiting = self._waiting.pop(key, None)
        if waiting is not None:
            self._settle(waiting, Outcome.LOCAL, detail=f"{key[0]} went away")

    def _drop(self, line: _Line) -> None:
        del self._lines[line.interface, line.family]
        self._loop.remove_reader(line.socket)
        line.socket.close()

    def close(self) -> None:
        """Close every socket; probes still out get no result."""
        for line in list(self._lines.values()):
            self._drop(line)
        for waiting in self._waiting.values():
            waiting.timer.cancel()
        self._waiting.clear()


def _packed6(address: str) -> bytes:
    """The kernel names a link-local sender with its scope: `fe80::1%wwan0`."""
    return socket.inet_pton(socket.AF_INET6, address.partition("%")[0])
