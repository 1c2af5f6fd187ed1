"""Policy rules of others beside ours: what they kept in or out stays in or out, and their tools come to an end."""

from __future__ import annotations

import select
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from failover.core.diff import removal
from failover.core.plan import ours
from failover.core.reconcile import Reconciler
from failover.facts import Operation, Rule, Verb
from failover.kernel import Kernel, Watch
from failover.model import FAMILIES, Family

from .van import INTERNET, MASK, TCP, TUNNEL, V4, V6, Van, built, own, wait_until

WG_MARK = 51820
WG_UP = """
for proto in -4 -6; do
  ip $proto route add default dev wg0 table 51820
  ip $proto rule add not fwmark 51820 table 51820
  ip $proto rule add table main suppress_prefixlength 0
done
"""
"""What `wg-quick up` does to routes and rules (add_default)."""
WG_DOWN = """
table=51820
count=0
while [[ $(ip -4 rule show 2>/dev/null) == *"lookup $table"* ]]; do
  ip -4 rule delete table $table; ((count++))
done
while [[ $(ip -4 rule show 2>/dev/null) == *"from all lookup main suppress_prefixlength 0"* ]]; do
  ip -4 rule delete table main suppress_prefixlength 0; ((count++))
done
while [[ $(ip -6 rule show 2>/dev/null) == *"lookup $table"* ]]; do
  ip -6 rule delete table $table; ((count++))
done
while [[ $(ip -6 rule show 2>/dev/null) == *"from all lookup main suppress_prefixlength 0"* ]]; do
  ip -6 rule delete table main suppress_prefixlength 0; ((count++))
done
echo $count
"""
"""What `wg-quick down` does to rules (del_if), with a count of the deletions."""


@pytest.fixture
def van(tmp_path: Path) -> Iterator[Van]:
    with built(tmp_path / "state") as van:
        yield van


def rules(van: Van, *, mine: bool) -> set[Rule]:
    return {rule for rule in van.agent.facts().rules if ours(rule) is mine}


@contextmanager
def repairing(van: Van) -> Iterator[list[Operation]]:
    """Meanwhile, whatever is taken from us is put back as the agent does it; yields what was repaired."""
    stop, repaired = threading.Event(), list[Operation]()

    def repair() -> None:
        with van.van.entered():
            kernel, reconciler = Kernel(), Reconciler()
            watch = Watch(kernel.port)
            try:
                while not stop.is_set():
                    ready, _, _ = select.select([watch], [], [], 0.02)
                    if (ready and watch.drain()) or reconciler.due(time.monotonic()):
                        repaired.extend(once(kernel, reconciler))
            finally:
                watch.close()
                kernel.close()

    def once(kernel: Kernel, reconciler: Reconciler) -> Iterator[Operation]:
        now, facts = time.monotonic(), kernel.read()
        uplinks = van.agent.uplinks(facts)
        reconciler.read(now, facts)
        reconciler.want(now, uplinks, van.agent.decisions(uplinks), MASK)
        for effect in reconciler.apply(now, decided=False):
            reconciler.applied(kernel.apply(effect.operations))
            yield from effect.operations

    thread = threading.Thread(target=repair)
    thread.start()
    try:
        yield repaired
    finally:
        stop.set()
        thread.join()


@pytest.mark.parametrize("family", FAMILIES)
def test_a_kill_switch_stays_tight(van: Van, family: Family) -> None:
    """With its way out for a tunnel's own packets, which fails over as everything does."""
    number = family[-1]
    van.ip(f"-{number} rule add pref 30000 fwmark {WG_MARK} lookup main")
    van.ip(f"-{number} rule add pref 30001 prohibit")
    assert van.via(family) is None
    van.agent.reconcile()
    assert (van.via(family), van.via(family, mark=WG_MARK)) == (None, "wan0")
    van.agent.reconcile(active="wan1")
    assert (van.via(family), van.via(family, mark=WG_MARK)) == (None, "wan1")
    assert all(van.probed(name, family) for name in van.names)
    van.ip(f"-{number} rule del pref 30001")
    van.agent.reconcile()
    assert van.via(family) == "wan1"


def test_a_kill_switch_is_tight_at_every_step(van: Van) -> None:
    for proto in ("-4", "-6"):
        van.ip(f"{proto} rule add pref 30001 prohibit")
    operations = van.agent.operations()
    assert len(operations) > 10
    for operation in operations:
        assert van.agent.apply((operation,))[0].error is None
        assert [van.via(family) for family in FAMILIES] == [None, None]
    for operation in removal(van.agent.facts()):
        assert van.agent.apply((operation,))[0].error is None
        assert [van.via(family) for family in FAMILIES] == [None, None]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_kill_switch_before_ours_does_not_forbid_the_switch(van: Van, family: Family) -> None:
    """Without a pref given it lands there when the agent runs."""
    van.agent.reconcile()
    van.ip(f"-{family[-1]} rule add not fwmark {WG_MARK} prohibit" + (" pref 15499" if family is V6 else ""))
    van.van.sysctl("ipv4/conf/all/rp_filter", 0)
    for name in van.names:
        van.van.sysctl(f"ipv4/conf/{name}/rp_filter", 0)
    for active in ("wan1", "wan0"):
        van.agent.reconcile(active=active)
        assert (van.via(family), van.via(family, mark=WG_MARK)) == (None, active)


@pytest.mark.parametrize("family", FAMILIES)
def test_who_binds_to_an_uplinks_address_does_not_slip_past_a_kill_switch(van: Van, family: Family) -> None:
    van.ip(f"-{family[-1]} rule add pref 30001 prohibit")
    van.agent.reconcile()
    words = f"-{family[-1]} route get {INTERNET[family]} from {own(0, family)} uid 1000"
    assert "Permission denied" in van.run("bash", "-c", f"ip {words} 2>&1 || true")


@pytest.mark.parametrize("family", FAMILIES)
def test_a_rule_for_some_users_holds_for_them_and_for_nobody_else(van: Van, family: Family) -> None:
    number = family[-1]
    van.ip(f"-{number} rule add pref 20000 uidrange 1200-1299 unreachable")
    van.agent.reconcile(active="wan1")

    def way(uid: int) -> str:
        return van.run("bash", "-c", f"ip -{number} route get {INTERNET[family]} uid {uid} 2>&1 || true")

    assert "wan1" in way(1199)
    assert "wan1" in way(1300)
    assert "unreachable" in way(1200) or "No route" in way(1200)
    assert "wan1" not in way(1299)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("when", ["before", "while running"])
def test_a_full_tunnel_takes_all_but_its_own_packets_and_probes(van: Van, family: Family, when: str) -> None:
    if when == "while running":
        van.agent.reconcile()
    van.run("bash", "-c", WG_UP)
    van.agent.reconcile()
    for active in ("wan0", "wan1"):
        van.agent.reconcile(active=active)
        assert van.via(family) == TUNNEL
        assert van.via(family, mark=WG_MARK) == active
        assert all(van.probed(name, family) for name in van.names)


@pytest.mark.parametrize("when", ["before", "while running"])
def test_the_tunnels_tools_come_to_an_end_and_everything_of_ours_is_back(van: Van, when: str) -> None:
    van.agent.reconcile()
    expected, others = rules(van, mine=True), rules(van, mine=False)
    if when == "before":
        van.agent.apply(tuple(Operation(Verb.DELETE, rule) for rule in expected))
    van.run("bash", "-c", WG_UP)
    van.agent.reconcile()
    with repairing(van) as repaired:
        count = int(van.run("timeout", "20", "bash", "-c", WG_DOWN))
        wait_until(lambda: rules(van, mine=True) == expected, "everything of ours is back")
    assert rules(van, mine=False) == others
    assert van.via() == "wan0"
    assert count < 50
    if when == "while running":
        assert (count, repaired) == (4, []), "the tunnel's rules came before ours: none of ours is hit"


def test_up_and_down_again_beside_a_running_agent(van: Van) -> None:
    van.agent.reconcile()
    expected = rules(van, mine=True)
    with repairing(van), van.flow(V4, TCP) as stream, van.flow(V6, TCP) as stream6:
        assert (stream.ask(), stream6.ask()) == ("wan0", "wan0")
        for _ in range(2):
            van.run("bash", "-c", WG_UP)
            assert van.via() == van.via(V6) == TUNNEL
            van.run(
                "timeout", "20", "bash", "-c", f"ip route flush table 51820; ip -6 route flush table 51820; {WG_DOWN}"
            )
            assert (stream.ask(), stream6.ask()) == ("wan0", "wan0")
        wait_until(lambda: rules(van, mine=True) == expected, "everything of ours is back")


def test_a_foreign_rule_that_comes_and_goes_is_followed_in_order(van: Van) -> None:
    van.agent.reconcile()
    for pref, action in ((20000, "lookup 100"), (20002, "prohibit"), (20001, "fwmark 7 lookup 101")):
        van.ip(f"-4 rule add pref {pref} {action}")
        van.agent.reconcile()
    copies = sorted((r.priority, r.table) for r in rules(van, mine=True) if 15530 <= r.priority < 15548)
    assert copies == [(15530, 100), (15531, 101), (15532, 0)]
    van.ip("-4 rule del pref 20000")
    van.agent.reconcile()
    copies = sorted((r.priority, r.table) for r in rules(van, mine=True) if 15530 <= r.priority < 15548)
    assert copies == [(15530, 101), (15531, 0)]
