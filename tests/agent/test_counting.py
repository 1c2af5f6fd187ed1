"""The table of nftables kept in place while others work against it, and what is counted where there can be none.

Real nft and a real kernel, in namespaces of the test's own; the loop is a real one.
"""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from failover.cleanup import clean_up
from failover.counting import FORWARDED, REPAIRS, Counting
from failover.facts import Counts, Gateway, Operation, OperationResult, Tap, Verb
from failover.kernel import nft
from failover.lab.namespaces import Namespace
from failover.model import FAMILIES, Family
from failover.moving import Moving
from failover.seam import Counted, CountFlows, FlowsForgotten, ForgetFlows, Moved
from tests.agent.running import running
from tests.kernel.box import INTERNET, OWN, V4, V6, WAN0, WAN1
from tests.kernel.conftest import box, road
from tests.kernel.forwarding import MARKS, SEEN, Forwarding, forwarding
from tests.kernel.forwarding import WANTED as GATEWAY
from tests.kernel.road import MARK, MASK, TAPS, WANTED, Road, chain, foreign, in_van, need_nft
from tests.kernel.test_privileges import become_ordinary, in_child

__all__ = ["box", "road"]
PATIENCE = 10.0
KEYS = {(tap.interface, family) for tap in TAPS for family in FAMILIES}
NOTHING = dict.fromkeys(KEYS, Counts())
LOST = "somebody removed rules or all of the nftables table inet failover"


@dataclass
class Bench:
    """A Counting in the van, and what it said."""

    counting: Counting
    said: list[tuple[str, str]] = field(default_factory=list)

    async def until(self, true: Callable[[Counted], bool]) -> Counted:
        """The first reading of which it is so; the loop turns meanwhile."""
        deadline = time.monotonic() + PATIENCE
        while not true(found := self.counting.read()):
            assert time.monotonic() < deadline, (found, self.said, self.counting.warnings)
            await asyncio.sleep(0)
        return found

    async def loaded(self) -> Counted:
        """The first reading in which every tap is counted."""
        return await self.until(lambda found: not found.weak and found.counts.keys() == KEYS)


Scene = Callable[[Bench], Awaitable[None]]


def play(road: Road, scene: Scene) -> None:
    """Run it in the van."""

    async def whole() -> None:
        said: list[tuple[str, str]] = []
        bench = Bench(Counting(print, lambda kind, text: said.append((kind, text))), said)
        try:
            await scene(bench)
        finally:
            bench.counting.close()

    with road.van.entered():
        asyncio.run(asyncio.wait_for(whole(), 3 * PATIENCE))


def asked(road: Road, family: Family = V4, times: int = 2) -> None:
    """A flow of some packets that are answered: one is fresh, the others sent."""
    with road.flow(family) as flow:
        road.ask(flow, times)


def counts(times: int, size: int) -> Counts:
    """What it comes to."""
    return Counts(times, times - 1, 1, times * size, times * size)


@pytest.mark.parametrize(("family", "size"), [(V4, 29), (V6, 49)])
def test_what_is_followed_is_counted_in_packets_and_bytes(road: Road, family: Family, size: int) -> None:
    async def scene(bench: Bench) -> None:
        assert bench.counting.read() == Counted({})
        bench.counting.follow(WANTED)
        assert (await bench.loaded()).counts == NOTHING
        asked(road, family, 3)
        road.ping(family, 2, mark=MARK)
        assert bench.counting.read().counts == {**NOTHING, ("wan0", family): counts(3, size)}
        assert (bench.said, bench.counting.warnings) == ([], ())

    play(road, scene)


def test_the_same_again_changes_nothing_and_something_else_begins_anew(road: Road) -> None:
    async def scene(bench: Bench) -> None:
        bench.counting.follow(WANTED)
        await bench.loaded()
        asked(road)
        before = bench.counting.read()
        bench.counting.follow(CountFlows(tuple(TAPS), MASK))
        asked(road, V6)
        assert bench.counting.read().counts == {**before.counts, ("wan0", V6): counts(2, 49)}
        bench.counting.follow(CountFlows(TAPS[:1], MASK))
        await bench.until(lambda found: found.counts == {("wan0", V4): Counts(), ("wan0", V6): Counts()})
        bench.counting.follow(WANTED)
        bench.counting.follow(CountFlows((), MASK))  # while the other is being loaded
        bench.counting.follow(CountFlows(TAPS[1:], MASK))
        await bench.until(lambda found: found.counts == {("wan1", V4): Counts(), ("wan1", V6): Counts()})
        bench.counting.follow(CountFlows((), MASK))
        await bench.until(lambda _: not in_van(road, "nft", "list", "table", "inet", "failover").count("counter name"))
        assert bench.counting.read() == Counted({})
        assert bench.said == []

    play(road, scene)


def test_the_table_of_a_killed_predecessor_is_replaced(road: Road) -> None:
    with road.van.entered():
        nft.load(CountFlows((*TAPS, Tap("gone0")), MASK))
    asked(road)

    async def scene(bench: Bench) -> None:
        bench.counting.follow(WANTED)
        assert (await bench.loaded()).counts == NOTHING
        assert "gone0" not in in_van(road, "nft", "list", "ruleset")

    play(road, scene)


@pytest.mark.parametrize(
    "command",
    [
        "flush ruleset",
        "delete table inet failover",
        "flush chain inet failover received",
        "add table inet failover { flags dormant; }",
    ],
)
def test_what_somebody_removes_is_back_and_said_once(road: Road, command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("failover.counting.LOOK", 0.0)

    async def scene(bench: Bench) -> None:
        bench.counting.follow(WANTED)
        await bench.loaded()
        for _ in range(3):
            asked(road)
            in_van(road, "nft", *command.split())
            found = bench.counting.read()
            assert (found.weak, set(found.counts), bench.counting.warnings) == (True, KEYS, ())
            await bench.loaded()
            asked(road)
            assert bench.counting.read().counts == {**NOTHING, ("wan0", V4): counts(2, 29)}
        assert bench.said == [("kernel", f"{LOST}; loading it again")]

    play(road, scene)


def test_what_others_do_to_their_own_is_no_loss(road: Road, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("failover.counting.LOOK", 0.0)

    async def scene(bench: Bench) -> None:
        bench.counting.follow(WANTED)
        await bench.loaded()
        asked(road)
        before = bench.counting.read()
        foreign(road, "inet theirs", chain("input", "filter", "accept"))
        assert bench.counting.read() == before
        in_van(road, "nft", "delete", "table", "inet", "theirs")
        assert bench.counting.read() == before
        for number in range(6):  # nor is what we do ourselves, read at any moment of it
            asked(road)
            bench.counting.follow(CountFlows(TAPS[: 1 + number % 2], MASK))
            await bench.until(lambda found: found.counts.get(("wan0", V4)) == Counts())
        assert bench.said == []

    play(road, scene)


def test_whoever_removes_it_again_and_again_wins_for_a_while(road: Road, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("failover.counting.WINDOW", 10 * PATIENCE)

    async def scene(bench: Bench) -> None:
        bench.counting.follow(WANTED)
        for _ in range(REPAIRS + 1):
            await bench.loaded()
            in_van(road, "nft", "flush", "ruleset")
        monkeypatch.setattr("failover.counting.AGAIN", 0.05)
        assert (await bench.until(lambda found: found.weak)).counts.keys() == KEYS
        (warning,) = bench.counting.warnings
        assert warning.startswith(
            f"detection is weaker: interfaces are counted, not flows, since {LOST}, again and again"
        )
        assert bench.said == [("kernel", f"{LOST}; loading it again"), ("warning", warning)]
        await bench.loaded()
        assert bench.counting.warnings == ()
        assert bench.said[2:] == [("kernel", "flows are counted by nftables again")]

    play(road, scene)


def test_a_gateway_that_somebody_removed_forwards_again(road: Road) -> None:
    """Its open flows are where they were, and nobody is reset."""

    async def scene(bench: Bench) -> None:
        with ExitStack() as stack:
            van = Forwarding(road, stack)
            bench.counting.follow(GATEWAY)
            await bench.loaded()
            talks = [van.open(V4, kind) for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM)]
            van.switch(V4)
            in_van(road, "nft", "flush", "ruleset")
            await bench.until(lambda _: "masquerade" in in_van(road, "nft", "list", "ruleset"))
            assert [talk.ask() for talk in (*talks, van.open(V4))] == [OWN[WAN0][V4]] * 2 + [OWN[WAN1][V4]]
            assert bench.said == [("kernel", f"{LOST}; loading it again")]

    play(road, scene)


def test_an_agent_against_whom_somebody_works_without_pause_says_so(van: Namespace, tmp_path: Path) -> None:
    need_nft()
    with running(van, tmp_path) as agent:
        agent.ready().all_up()
        rival = van.popen(["sh", "-c", "while nft flush ruleset; do :; done"])
        try:
            agent.said(f"{LOST}, again and again")
        finally:
            rival.kill()
            rival.wait(PATIENCE)
        assert agent.status()["flows_counted"] is False


def test_without_nft_the_interfaces_own_counters_are_read(road: Road, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("failover.kernel.nft.PATH", "/nowhere")
    monkeypatch.setattr("failover.counting.AGAIN", 0.01)
    wanted = CountFlows((*TAPS, Tap("gone0")), MASK)

    async def scene(bench: Bench) -> None:
        bench.counting.follow(wanted)
        before = await bench.until(lambda found: found.weak)
        tried = time.monotonic() + 0.05  # several times
        await bench.until(lambda _: time.monotonic() > tried)
        road.ping(V4, 3, mark=MARK)
        found = bench.counting.read()
        assert found.counts.keys() == KEYS
        for name in ("wan0", "wan1"):
            assert found.counts[name, V4] == found.counts[name, V6]
        grown, was = found.counts["wan0", V4], before.counts["wan0", V4]
        assert grown.received - was.received >= 3
        assert grown.fresh - was.fresh >= 3
        assert (grown.sent, was.sent) == (0, 0)
        assert grown.sent_bytes - was.sent_bytes >= 3 * 28
        (warning,) = bench.counting.warnings
        assert warning.endswith(", since nft is not installed (install the package nftables)")
        assert bench.said == [("warning", warning)]
        monkeypatch.setattr("failover.kernel.nft.PATH", os.environ["PATH"])
        await bench.until(lambda found: not found.weak and bool(found.counts))
        assert bench.counting.warnings == ()

    play(road, scene)


def test_a_table_of_somebody_elses_is_left_alone(road: Road, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("failover.counting.AGAIN", 0.01)
    foreign(road, "inet failover", "counter probes { }", chain("input", "filter", "accept"))
    before = in_van(road, "nft", "list", "ruleset")

    async def scene(bench: Bench) -> None:
        bench.counting.follow(WANTED)
        await bench.until(lambda found: found.weak)
        assert "the nftables table inet failover is somebody else's (give it another name)" in bench.said[0][1]
        assert in_van(road, "nft", "list", "ruleset") == before
        in_van(road, "nft", "delete", "table", "inet", "failover")
        await bench.loaded()

    play(road, scene)


def test_an_agent_whose_rights_no_child_inherits_counts_interfaces(road: Road) -> None:
    async def scene(bench: Bench) -> None:
        bench.counting.follow(WANTED)
        await bench.until(lambda found: found.weak and found.counts.keys() == KEYS)
        assert "since nft may not change the ruleset (give the agent CAP_NET_ADMIN as an" in bench.counting.warnings[0]

    def work() -> None:
        become_ordinary()
        asyncio.run(_alone(scene))

    with road.van.entered():
        assert in_child(work) == 0


async def _alone(scene: Scene) -> None:
    said: list[tuple[str, str]] = []
    await scene(Bench(Counting(print, lambda kind, text: said.append((kind, text))), said))


def test_nft_that_hangs_or_fails_holds_up_nobody(road: Road, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = tmp_path / "nft"
    monkeypatch.setattr("failover.kernel.nft.PATH", str(tmp_path))
    monkeypatch.setattr("failover.kernel.nft.SECONDS", 0.3)
    monkeypatch.setattr("failover.counting.AGAIN", 0.01)

    def become(script: str) -> None:
        new = tmp_path / "new"
        new.write_text(f"#!/bin/sh\n{script}\n")
        new.chmod(0o755)
        new.rename(fake)

    async def scene(bench: Bench) -> None:
        turns = 0
        bench.counting.follow(WANTED)
        while not bench.counting.read().weak:
            await asyncio.sleep(0)
            turns += 1
        assert turns > 20, "the loop turned while it hung"
        assert "since nft was not done after 0.3 s (how long does" in bench.said[0][1]
        become('echo "internal:0:0-0: Error: \x1b[31mno such thing" >&2; exit 1')
        await bench.until(lambda _: len(bench.said) == 2)
        assert ", since nft: ?[31mno such thing (" in bench.said[1][1]

    become("exec sleep 60")
    play(road, scene)


def test_a_kernel_without_translation_counts_all_the_same(
    road: Road, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is said that clients are not served, and once; when it can be had, it is."""
    real, fake = nft.find(), tmp_path / "nft"
    fake.write_text(
        f"#!/bin/sh\ncat >{tmp_path}/asked\n"
        f'grep -q masquerade {tmp_path}/asked && [ ! -e {tmp_path}/able ] && echo "Error: no masq" >&2 && exit 1\n'
        f"exec {real} --json --file {tmp_path}/asked\n"
    )
    fake.chmod(0o755)
    monkeypatch.setattr("failover.kernel.nft.PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr("failover.counting.AGAIN", 0.01)
    wanted = CountFlows(tuple(replace(tap, mark=1 << 24) for tap in TAPS), MASK, Gateway(("lan0",)))

    async def scene(bench: Bench) -> None:
        bench.counting.follow(wanted)
        await bench.loaded()
        await bench.until(lambda _: bool(bench.said))
        for _ in range(3):
            asked(road)
            await bench.until(lambda found: found.counts[("wan0", V4)].sent > 0)
        (told,) = bench.said
        assert told == ("warning", f"{FORWARDED}, since nft: no masq ({nft.NEEDS})")
        assert not bench.counting.weak
        (tmp_path / "able").touch()
        await bench.until(lambda _: len(bench.said) == 2)
        assert bench.counting.warnings == ()

    play(road, scene)


def test_what_is_translated_is_no_stray(road: Road, tmp_path: Path) -> None:
    """However long its answer takes."""

    async def forgotten(*orders: ForgetFlows) -> list[int]:
        came: asyncio.Queue[Moved] = asyncio.Queue()
        with closing(Moving(tmp_path / "mptcp.json", came.put_nowait, print)) as moving:
            for order in orders:
                moving.carry_out(order)
            found = [await came.get() for _ in orders]
        return [one.flows for one in found if isinstance(one, FlowsForgotten)]

    with forwarding(road) as van, road.flow(V4, port=SEEN, space=road.lan) as flow:
        assert van.asked(flow) == OWN[WAN0][V4]
        unanswered = ForgetFlows("au", V4, MARKS[WAN0], MASK, unanswered=True)
        assert asyncio.run(forgotten(replace(unanswered, strays=True), unanswered)) == [0, 1]


def test_clients_are_not_left_without_for_a_minute(road: Road, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be loaded is tried again soon where somebody waits for it; it is said once."""
    asked = tmp_path / "asked"
    (tmp_path / "nft").write_text(f'#!/bin/sh\necho >>{asked}\necho "Error: no" >&2\nexit 1\n')
    (tmp_path / "nft").chmod(0o755)
    monkeypatch.setattr("failover.kernel.nft.PATH", str(tmp_path))
    monkeypatch.setattr("failover.counting.SOONER", 0.01)

    async def scene(bench: Bench) -> None:
        bench.counting.follow(CountFlows(tuple(replace(tap, mark=1 << 24) for tap in TAPS), MASK, Gateway(("lan0",))))
        await bench.until(lambda _: bool(bench.said))
        await bench.until(lambda _: asked.read_text().count("\n") >= 6)
        assert len(bench.said) == 1

    play(road, scene)


def test_names_that_nft_does_not_take_keep_nobody_else_from_being_counted(road: Road) -> None:
    odd = ("@au", "wan*", 'a"b', "*")
    wanted = CountFlows((*map(Tap, odd), *TAPS), MASK)

    async def scene(bench: Bench) -> None:
        for _ in range(2):
            bench.counting.follow(wanted)
            await bench.loaded()
        asked(road)
        assert bench.counting.read().counts == {**NOTHING, ("wan0", V4): counts(2, 29)}
        assert bench.said == [
            ("warning", f"nothing is done for the flows of {name}: nft does not take its name") for name in odd
        ]

    play(road, scene)


@pytest.mark.parametrize("name", ["w;n 0".replace(" ", "_"), "é{}", "a\\", "0x7", "$(id)", "ip6", "-"])
def test_odd_names_that_it_does_take(road: Road, name: str) -> None:
    for line in (f"link set wan0 down name {name}", f"link set {name} up"):
        done = road.box.try_ip(line)
        assert done.returncode == 0, done.stderr
    with road.van.entered():
        road.van.rtnl.add_neighbour(WAN0, "10.10.0.1", road.box.ends(WAN0)[1].mac)
    road.box.ip(f"route add {INTERNET[V4]} via 10.10.0.1 dev {name} src {OWN[WAN0][V4]} onlink")

    async def scene(bench: Bench) -> None:
        bench.counting.follow(CountFlows((Tap(name),), MASK))
        await bench.until(lambda found: len(found.counts) == 2)
        asked(road)
        assert bench.counting.read().counts == {(name, V4): counts(2, 29), (name, V6): Counts()}

    play(road, scene)


def test_closed_while_it_loads_the_table_stays(road: Road) -> None:
    async def scene(bench: Bench) -> None:
        bench.counting.follow(WANTED)
        await bench.loaded()
        bench.counting.follow(CountFlows(TAPS[:1], MASK))
        await asyncio.sleep(0)
        bench.counting.close()
        assert bench.counting.read() == Counted({})

    play(road, scene)
    assert "received-ipv4-wan0" in in_van(road, "nft", "list", "ruleset")


def test_a_reading_takes_no_longer_than_it_may(road: Road) -> None:
    """Three interfaces in both families: 0.1 ms on a machine of its own."""

    async def scene(bench: Bench) -> None:
        bench.counting.follow(CountFlows((*TAPS, Tap("wan2")), MASK))
        await bench.until(lambda found: len(found.counts) == 6)
        taken = []
        for _ in range(200):
            before = time.perf_counter()
            bench.counting.read()
            taken.append(time.perf_counter() - before)
        assert min(taken) < 0.0002

    play(road, scene)


def test_cleanup_removes_our_table_and_no_other(road: Road, monkeypatch: pytest.MonkeyPatch) -> None:
    foreign(road, "inet theirs", chain("input", "filter", "accept"))
    theirs = in_van(road, "nft", "list", "ruleset")
    with road.van.entered():
        nft.load(WANTED)
        monkeypatch.setattr("failover.kernel.nft.PATH", "/nowhere")
        (refusal,) = clean_up([])
        assert (str(refusal), getattr(refusal, "hint", "")) == ("nft is not installed", "install the package nftables")
        monkeypatch.undo()
        assert list(clean_up([])) == [OperationResult(Operation(Verb.DELETE, nft.TABLE))]
        assert in_van(road, "nft", "list", "ruleset") == theirs
        foreign(road, "inet failover", "counter probes { }")
        assert list(clean_up([])) == []
    assert "counter probes" in in_van(road, "nft", "list", "ruleset")
