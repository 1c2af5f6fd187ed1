"""Counting the user's packets: our nftables table kept in place and read, or, where there can be none, less.

The table is loaded by a child in a thread; to read it is one question to the kernel. What the counts mean is the
core's business. Whatever becomes of the agent, the table stays: it only counts, and lets what a gateway forwards keep
its ways.
"""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from itertools import product
from math import inf
from typing import Final

from failover.export.log import Say
from failover.facts import Counts, Tap
from failover.kernel import interfaces, nft
from failover.kernel.counters import Count, Counters, Reading, Standing
from failover.kernel.netlink import Netlink
from failover.model import FAMILIES, Family, KernelError
from failover.seam import Counted, CountFlows, ForgetFlows

AGAIN: Final = 60.0
SOONER: Final = 2.0
"""Seconds until what could not be loaded is tried again, and between two complaints that somebody removed it. With a
gateway, whose clients are without it, SOONER at first, and then twice as long each time."""
REPAIRS, WINDOW = 10, 10.0
"""So many repairs in so many seconds: then somebody is at work against us, and wins until AGAIN."""
STRAYS: Final = (1.5, 7.0, 31.0)
"""Seconds after a gateway's table is there (again) at which what began without it, untranslated, is forgotten: by then
its next packet has given it a mark, or the kernel has forgotten it by itself (nf_conntrack_udp_timeout is 30 s)."""
LOOK: Final = 1.0
"""Seconds between two looks at our rules when others keep changing theirs; fail2ban may do so at any time."""
NOTHING: Final = Counted({})
WEAKER: Final = "detection is weaker: interfaces are counted, not flows"
FORWARDED: Final = "clients of the LAN are not translated, nor do their flows keep an uplink"


class Counting:
    """`follow` says what to count, `read` what it has come to; both return at once. `close` at the end."""

    def __init__(self, forget: Callable[[ForgetFlows], None], say: Say) -> None:
        """To be made in the running loop, in whose network namespace it counts. `forget`: has forwarded flows take the
        present way."""
        self._loop = asyncio.get_running_loop()
        self._forget, self._say = forget, say
        self._wanted = self._loaded = CountFlows((), 0)
        self._names: nft.Names = {}
        """Of the counters that are wanted."""
        self._counters: Counters | None = None
        self._links: Netlink | None = None
        self._made: tuple[bytes, ...] = ()
        """The table as it was loaded."""
        self._seen, self._looked = 0, -inf
        """The generation of the ruleset in which they were last looked at, and when."""
        self._standing = False
        """The table was as it was loaded, when it was last read."""
        self._losses: deque[float] = deque(maxlen=REPAIRS)
        self._complained = -inf
        self._trouble: KernelError | None = None
        """Why there is no table."""
        self._pause = SOONER
        self._loading: asyncio.Task[None] | None = None
        self._retry: asyncio.TimerHandle | None = None
        self._strays: list[asyncio.TimerHandle] = []

    @property
    def warnings(self) -> tuple[str, ...]:
        """What `status` says of it."""
        return () if self._trouble is None else (self._told(self._trouble),)

    @property
    def weak(self) -> bool:
        """Only interfaces are counted."""
        return self._trouble is not None and not self._standing

    def follow(self, wanted: CountFlows) -> None:
        """Count these from now on, and nothing else."""
        if wanted == self._wanted:
            return
        self._wanted, self._names = wanted, nft.names(wanted.taps)
        lan = wanted.gateway.lan if wanted.gateway else ()
        for interface in (*(tap.interface for tap in wanted.taps), *lan):
            if not nft.countable(interface):
                self._say("warning", f"nothing is done for the flows of {interface}: nft does not take its name")
        self._load()

    def read(self) -> Counted:
        """What was counted until now: nothing while the first table is being loaded, and less while a lost one is."""
        found = self._of_flows() if self._standing else None
        if found is not None:
            return found
        lost = self._trouble is not None or self._loaded.taps
        return self._of_interfaces() if lost else NOTHING

    def close(self) -> None:
        """Count no more; the table stays."""
        if self._loading is not None:
            self._loading.cancel()
        self._cancel_retry()
        self._cancel_strays()
        for open_ in (self._counters, self._links):
            if open_ is not None:
                open_.close()
        self._standing, self._loaded = False, CountFlows((), 0)

    # --- the table ---------------------------------------------------------------------------------------------------

    def _of_flows(self) -> Counted | None:
        """None where there is nothing to read (any more)."""
        assert self._counters is not None
        try:
            reading = self._counters.read()
            self._standing = self._whole(reading)
        except KernelError as error:
            self._give_up(error)
            return None
        if not self._standing:
            self._lost()
            return None
        return Counted(_counted(reading.counts, self._names))

    def _load(self) -> None:
        """Unless it is under way: then what is wanted by now comes next."""
        if self._loading is None:
            self._loading = self._loop.create_task(self._load_wanted())
            self._loading.add_done_callback(ended)

    async def _load_wanted(self) -> None:
        self._cancel_retry()
        try:
            while not self._standing or self._loaded != self._wanted:
                await self._load_once(self._wanted)
        except KernelError as error:
            self._give_up(error, standing=self._standing)  # what is loaded counts on
        finally:
            self._loading = None  # in this moment: what is wanted from the next one on is loaded by another

    async def _load_once(self, wanted: CountFlows) -> None:
        nft.require()
        if self._counters is None:
            self._counters = Counters()
        if self._counters.standing() is Standing.FOREIGN:
            what = f"the nftables table {nft.TABLE.family} {nft.TABLE.name} is somebody else's"
            raise KernelError(what, "give it another name")
        try:
            await asyncio.to_thread(nft.load, wanted)
        except RuntimeError as error:  # no thread can be started
            raise KernelError(f"nft: {error}", "is there memory left, and room for processes?") from error
        except KernelError:
            if wanted.gateway is not None and not self._standing:  # a kernel without NAT can count all the same
                await self._load_once(replace(wanted, gateway=None))
            raise
        self._made, self._seen = self._counters.made(), self._counters.read().generation
        if not (self._standing and self._loaded.gateway):
            self._cancel_strays()
            self._strays = [self._loop.call_later(after, self._forget_strays) for after in STRAYS]
        self._loaded, self._standing, self._looked = wanted, True, self._loop.time()
        if self._trouble is not None and wanted == self._wanted:
            self._trouble, self._pause = None, SOONER
            self._say("kernel", "flows are counted by nftables again")

    def _forget_strays(self) -> None:
        """What nobody has answered, and what stands so."""
        marked = [tap for tap in self._loaded.taps if tap.mark] if self._loaded.gateway else []
        for tap, family in product(marked, FAMILIES):
            self._forget(ForgetFlows(tap.uplink, family, tap.mark, self._loaded.mask, unanswered=True, strays=True))

    def _whole(self, reading: Reading) -> bool:
        """Whether our table is as we made it. Raises KernelError."""
        if nft.MARKER not in reading.counts:
            return False
        now = self._loop.time()
        if reading.generation == self._seen or now < self._looked + LOOK or self._loading is not None:
            return True
        self._seen, self._looked = reading.generation, now
        return self._counters is not None and self._counters.made() == self._made

    def _lost(self) -> None:
        """Somebody removed it (`flush ruleset`) or a part of it: it is loaded again."""
        now = self._loop.time()
        what = f"somebody removed rules or all of the nftables table {nft.TABLE.family} {nft.TABLE.name}"
        if len(self._losses) == REPAIRS and now < self._losses[0] + WINDOW:
            self._losses.clear()
            self._give_up(KernelError(f"{what}, again and again", "let it alone: delete only tables of your own"))
            return
        self._losses.append(now)
        if now >= self._complained + AGAIN:
            self._complained = now
            self._say("kernel", f"{what}; loading it again")
        self._load()

    # --- without it --------------------------------------------------------------------------------------------------

    def _give_up(self, error: KernelError, *, standing: bool = False) -> None:
        """For a while; said when it is another reason than before. `standing`: the table before is whole."""
        self._standing = standing
        self._cancel_retry()
        if self._trouble is None or str(self._trouble) != str(error):
            self._say("warning", self._told(error))
        self._trouble = error
        pause = AGAIN if self._wanted.gateway is None else self._pause
        self._pause = min(AGAIN, 2 * self._pause)
        self._retry = self._loop.call_later(min(AGAIN, pause), self._load)

    def _told(self, error: KernelError) -> str:
        bare = self._wanted.gateway is not None and not (self._standing and self._loaded.gateway)
        lacking = ([] if bare and self._standing else [WEAKER]) + ([FORWARDED] if bare else [])
        return f"{', and '.join(lacking)}, since {error} ({error.hint or nft.NEEDS})"

    def _cancel_strays(self) -> None:
        for handle in self._strays:
            handle.cancel()

    def _cancel_retry(self) -> None:
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None

    def _of_interfaces(self) -> Counted:
        try:
            if self._links is None:
                self._links = Netlink()
            found = interfaces.passed(self._links)
        except KernelError:  # the reader says that the kernel cannot be asked
            return Counted({}, weak=True)
        return Counted(dict(_passed(self._wanted.taps, found)), weak=True)


def ended(task: asyncio.Task[None]) -> None:
    """What nobody expected is the loop's to tell."""
    if not task.cancelled():
        task.result()


def _counted(counts: Mapping[str, Count], names: nft.Names) -> dict[tuple[str, Family], Counts]:
    """By interface and family; those whose table is still to come are left out."""
    found: dict[tuple[str, Family], Counts] = {}
    for key, (one, two, three) in names.items():
        with suppress(KeyError):
            received, sent, fresh = counts[one], counts[two], counts[three]
            found[key] = Counts(received.packets, sent.packets, fresh.packets, sent.bytes + fresh.bytes, received.bytes)
    return found


def _passed(
    taps: tuple[Tap, ...], found: Mapping[int, interfaces.Passed]
) -> Iterator[tuple[tuple[str, Family], Counts]]:
    for tap in taps:
        with suppress(OSError, KeyError):  # there is no such interface now
            what = found[socket.if_nametoindex(tap.interface)]
            for family in FAMILIES:
                yield (
                    (tap.interface, family),
                    Counts(what.received_packets, 0, what.sent_packets, what.sent_bytes, what.received_bytes),
                )
