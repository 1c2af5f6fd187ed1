"""Probes: the one door of this room. Starts each probe by its kind and hands back exactly one result for it.

What lives here: dispatch, patience, the bounds on open probes. What may not: any protocol, any judgement.
"""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from failover.model import PROBE_PATIENCE, Family, Outcome, ProbeKind, ProbeResult, SendProbe, clean
from failover.probes import bound
from failover.probes.attempt import Ask, Attempt, Resolvers, Tally, UnansweredError, patience
from failover.probes.icmp import Icmp

ECHOES_MAX: Final = 1024
"""Echo requests out at a time; they share their uplink's socket."""
ATTEMPTS_MAX: Final = 256
"""Other probes out at a time; each has a socket, and a process has 1024 by default."""


def _system_resolvers(_uplink: str, _family: Family) -> Sequence[str]:
    return ()


def _load_tcp() -> Attempt:
    from failover.probes.tcp import probe

    return probe


def _load_dns() -> Attempt:
    from failover.probes.dns import probe

    return probe


def _load_http() -> Attempt:
    from failover.probes.http import Http

    return Http().probe


_LOADERS: Final[Mapping[ProbeKind, Callable[[], Attempt]]] = {
    ProbeKind.TCP: _load_tcp,
    ProbeKind.DNS: _load_dns,
    ProbeKind.HTTP: _load_http,
    ProbeKind.HTTPS: _load_http,
}


class Probes:
    """Sends probes. Every `start` leads to one ProbeResult, at the latest PROBE_PATIENCE seconds later.

    `report` is called from the loop, never from inside `start` or `forget`; after `close` it is not called again.
    `resolvers` names the servers that http names are asked of; where it names none, those of /etc/resolv.conf are.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        report: Callable[[ProbeResult], None],
        resolvers: Resolvers = _system_resolvers,
    ) -> None:
        self._loop = loop
        self._report = report
        self._resolvers = resolvers
        self._icmp = Icmp(loop, self._tell)
        self._attempts: dict[asyncio.Task[ProbeResult], tuple[SendProbe, Tally]] = {}
        self._kinds: dict[ProbeKind, Attempt] = {}
        self._closed = False

    @property
    def ignored(self) -> Mapping[str, int]:
        """ICMP packets received that were no answer to an open probe, by why."""
        return self._icmp.ignored

    def start(self, send: SendProbe) -> None:
        """Send one probe; never blocks, never raises. What cannot be sent ends as `local`."""
        echo = send.target.kind is ProbeKind.ICMP
        if (len(self._icmp) if echo else len(self._attempts)) >= (ECHOES_MAX if echo else ATTEMPTS_MAX):
            full = OSError(errno.ENOBUFS, f"{os.strerror(errno.ENOBUFS)}: too many probes are open")
            self._loop.call_soon(self._tell, bound.local(send, full))
            return
        if echo:
            self._icmp.start(send)
            return
        tally = Tally()
        task = self._loop.create_task(self._run(send, tally))
        self._attempts[task] = (send, tally)
        task.add_done_callback(self._done)

    async def _run(self, send: SendProbe, tally: Tally) -> ProbeResult:
        ask = Ask(self._loop, send, tally, self._resolvers)
        outcome, rtt, detail = Outcome.SILENT, None, ""
        try:
            async with patience(self._loop, PROBE_PATIENCE):
                attempt = await self._loaded(send.target.kind)
                answer = await attempt(ask)
            outcome, rtt, detail = answer.outcome, answer.rtt, answer.detail
        except UnansweredError as ended:
            outcome, detail = ended.outcome, ended.detail
        except TimeoutError:
            pass
        except OSError as error:
            outcome, detail = Outcome.LOCAL, bound.words(error)
        return ProbeResult(send.id, outcome, rtt, clean(detail), tally.sent, tally.received)

    async def _loaded(self, kind: ProbeKind) -> Attempt:
        """The code of that kind; its libraries are imported by a thread, for they take longer than the loop may."""
        if kind not in self._kinds:
            self._kinds[kind] = await self._loop.run_in_executor(None, _LOADERS[kind])
        return self._kinds[kind]

    def _done(self, task: asyncio.Task[ProbeResult]) -> None:
        send, tally = self._attempts.pop(task)
        if task.cancelled():
            self._cut_short(send, tally, f"{send.interface} went away")
        elif fault := task.exception():
            self._loop.call_exception_handler({"message": f"probe of {send.target.url} broke", "exception": fault})
            self._cut_short(send, tally, f"internal error: {fault!r}")
        else:
            self._tell(task.result())

    def _cut_short(self, send: SendProbe, tally: Tally, why: str) -> None:
        self._tell(ProbeResult(send.id, Outcome.LOCAL, None, clean(why), tally.sent, tally.received))

    def forget(self, interface: str) -> None:
        """The device vanished or came back under another index: re-open its sockets, end its probes as `local`."""
        self._icmp.forget(interface)
        for task, (send, _) in self._attempts.items():
            if send.interface == interface:
                task.cancel()

    def close(self) -> None:
        """Stop; nothing is reported any more."""
        self._closed = True
        self._icmp.close()
        for task in self._attempts:
            task.cancel()

    def _tell(self, result: ProbeResult) -> None:
        if not self._closed:
            self._report(result)
