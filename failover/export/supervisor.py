"""What the agent tells the supervisor that started it, in the protocol of sd_notify(3). No judgement of when here.

Ours, since it is one datagram, and no library sends it without waiting: sdnotify (last released in 2017) blocks when
the socket is full and forgets what it could not send; systemd-python and cysystemd need libsystemd and a C compiler.
Without NOTIFY_SOCKET, as in a terminal or under another supervisor, nothing is sent.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Mapping
from typing import Final

from failover.model import clean

STATUS_LIMIT: Final = 256
"""Characters of the status line; systemd takes 4096 bytes of a message (NOTIFY_BUFFER_MAX)."""
FEEDS: Final = 4
"""Feeds in one watchdog period. sd_watchdog_enabled(3) advises two; with four, one may come late by half the period."""
US: Final = 1e6
"""Microseconds of a second."""


class Supervisor:
    """Tells it our state. Never blocks, never raises; what finds no room goes out with the next message.

    `interval`: seconds between two feeds of its watchdog; None when it keeps none for this process.
    """

    def __init__(
        self, environment: Mapping[str, str] = os.environ, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._clock = clock
        self._address = _address(environment.get("NOTIFY_SOCKET", ""))
        self.interval = _interval(environment) if self._address else None
        self._owed: dict[str, str] = {}
        """What it does not know yet: at most a state and a status line."""
        self._status = ""
        self._feed_due = clock()

    def ready(self, status: str) -> None:
        """The start is over, and this is how things are."""
        self._note("READY=1")
        self._note_status(status)
        self._send()

    def status(self, text: str) -> None:
        """How things are in one sentence; sent when it is another one."""
        if self._note_status(text):
            self._send()

    def reloading(self) -> None:
        """The config is being read again."""
        self._note(f"RELOADING=1\nMONOTONIC_USEC={int(self._clock() * US)}")
        self._send()

    def reloaded(self) -> None:
        """The config was read again, whatever came of it."""
        self._note("READY=1")
        self._send()

    def stopping(self) -> None:
        """The end has begun."""
        self._note("STOPPING=1")
        self._send()

    def alive(self) -> None:
        """The agent keeps up with its work. As often as you like: sent when a feed is due or something is owed."""
        now = self._clock()
        if self.interval is not None and now >= self._feed_due:
            if self._send("WATCHDOG=1"):
                self._feed_due = now + self.interval
        elif self._owed:
            self._send()

    def _note(self, state: str) -> None:
        self._owed["state"] = state

    def _note_status(self, text: str) -> bool:
        line = clean(text, STATUS_LIMIT)
        if line == self._status:
            return False
        self._status = line
        self._owed["status"] = f"STATUS={line}"
        return True

    def _send(self, *more: str) -> bool:
        """One message with all that is owed; False when nobody could take it."""
        if not self._address:
            return False
        message = "\n".join((*self._owed.values(), *more)).encode(errors="replace")
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as connection:
                connection.sendto(message, self._address)
        except (OSError, ValueError):
            return False
        self._owed.clear()
        return True


def _address(named: str) -> bytes:
    """As connect(2) takes it: a path, or `@name` in the abstract namespace; nothing for what is neither (vsock)."""
    if not named.startswith(("/", "@")):
        return b""
    address = os.fsencode(named)
    return b"\0" + address[1:] if named.startswith("@") else address


def _interval(environment: Mapping[str, str]) -> float | None:
    """As sd_watchdog_enabled(3): none without a period, or when that is another process's."""
    try:
        period = int(environment.get("WATCHDOG_USEC", "0")) / US
        pid = int(environment.get("WATCHDOG_PID", str(os.getpid())))
    except ValueError:
        return None
    return period / FEEDS if period > 0 and pid == os.getpid() else None
