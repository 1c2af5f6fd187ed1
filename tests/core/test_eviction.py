"""Which open flows of the box are broken, and when; and which never."""

from __future__ import annotations

from dataclasses import replace

import pytest

from failover.config import Config, Flows, Policy, Reconfigured, Uplink
from failover.core.eviction import GRACE
from failover.facts import Address, Link
from failover.model import Family, Keep, NoticeKind, Outcome, Use, Verdict
from failover.seam import DestroySockets, Resumed, SocketsDestroyed

from .box import PINGS, PINGS6, QUICK, RTT, Box, dead, told
from .worlds import V4, V6

BOTH = Config(targets=(*PINGS, *PINGS6))
A, B = "10.0.2.2", "10.0.3.2"


def broken(box: Box, since: float = 0.0) -> list[tuple[float, str, tuple[str, ...]]]:
    """Sweeps of everything: when, of which uplink, which addresses."""
    return [
        (round(at - since, 3), order.uplink, order.addresses)
        for at, order in box.broken
        if at >= since and not order.unanswered
    ]


def unanswered(box: Box) -> list[tuple[float, DestroySockets]]:
    return [(at, order) for at, order in box.broken if order.unanswered]


# --- conviction ------------------------------------------------------------------------------------------------------


def test_a_conviction_breaks_what_is_open_and_looks_again_for_who_was_quick() -> None:
    box = Box("a", "b")
    box.weather["a"] = dead(100, 160)
    box.run(400)
    convicted = next(at for at, notice in box.notices if "a ipv4 is down" in notice.text)
    assert broken(box, convicted) == [(0, "a", (A,)), (2, "a", (A,)), (5, "a", (A,))]
    assert broken(box) == [(round(at + convicted, 3), *rest) for at, *rest in broken(box, convicted)]
    assert told(box, 100, NoticeKind.FLOWS)[-3:] == [
        "a ipv4: open flows of this box broken, to connect anew: 1 TCP, 0 UDP"
    ] * 3


def test_what_is_left_alone_is_said_with_the_order() -> None:
    config = replace(QUICK, flows=Flows(Keep(frozenset({22}), frozenset({1000}))))
    box = Box("a", "b", config=config)
    box.facts = replace(box.facts, addresses=(*box.facts.addresses, Address(9, V4, "192.168.1.1", 24)))
    box.weather["a"] = dead(100)
    box.run(110)
    for _, order in box.broken:
        assert order.keep == Keep(frozenset({22}), frozenset({1000}))
        assert order.local == ("10.0.2.0/24", "10.0.3.0/24", "192.168.1.0/24")
        assert order.mask == config.fwmark_mask


def test_the_families_are_judged_and_broken_apart() -> None:
    box = Box("a", "b", config=BOTH, families=(V4, V6))
    box.weather["a"] = lambda now, target: None if now >= 100 and target.family is V6 else RTT
    box.run(110)
    assert {order.family for _, order in box.broken} == {V6}
    assert {order.addresses for _, order in box.broken} == {("2001:db8:2::2",)}


def test_nothing_is_broken_while_nothing_better_is_there() -> None:
    box = Box("a", "b")
    box.weather = {"a": dead(100, 200), "b": dead(100, 200)}
    box.run(199)
    assert not box.broken
    alone = Box("a")
    alone.weather["a"] = dead(100)
    alone.change("a", carrier=False)
    alone.run(130)
    assert not alone.broken


def test_what_waited_for_a_way_is_broken_as_soon_as_one_is_proven() -> None:
    box = Box("a", "b")
    box.weather = {"a": dead(100), "b": dead(100, 130)}
    box.run(200)
    back = next(at for at, notice in box.notices if at > 130 and "b ipv4 is up" in notice.text)
    first = broken(box)[0]
    assert first[1] == "a"
    assert back < first[0] < back + 3


def test_nothing_is_broken_at_the_operators_strict_word() -> None:
    box = Box("a", "b")
    box.run(50)
    box.ask(Use("a", strict=True))
    box.weather["a"] = dead(100)
    box.run(130)
    assert box.active() == "a"
    assert not box.broken


@pytest.mark.parametrize("what", ["carrier", "refusal"])
def test_what_is_certain_breaks_at_once(what: str) -> None:
    box = Box("a", "b")
    box.run(100)
    if what == "carrier":
        box.change("a", carrier=False)
    else:
        box.weather["a"] = lambda now, _: Outcome.REFUSED if now >= 100 else RTT
    box.run(103)
    lost = next(at for at, notice in box.notices if "a ipv4 is down" in notice.text)
    assert broken(box, lost)[0] == (0, "a", (A,))


def test_the_kernel_leads_elsewhere_before_anything_breaks() -> None:
    """The box asserts that at each order; here the kernel refuses the new route for a while."""
    box = Box("a", "b")
    box.weather["a"] = dead(100)
    box.blocked = lambda _: "no" if 100 < box.now < 110 else None
    box.run(109)
    assert not box.broken
    box.run(180)
    assert broken(box)[0][1:] == ("a", (A,))


def test_an_answer_ends_the_sweeps() -> None:
    box = Box("a", "b")
    box.weather["a"] = dead(100, 102.5)
    box.run(120)
    assert len(broken(box)) == 1


def test_what_was_lost_before_the_agent_came_is_left_alone() -> None:
    box = Box("b", config=replace(QUICK, uplinks=(Uplink("a", "a"), Uplink("b", "b"))))
    box.facts = replace(
        box.facts,
        links=(*box.facts.links, Link(9, "a", up=True, carrier=True)),
        addresses=(*box.facts.addresses, Address(9, V4, "10.0.9.2", 24)),
    )
    box.restart(None)
    box.run(30)
    assert (box.active(), box.verdict("a")) == ("b", Verdict.ABSENT)
    assert not box.broken


def test_what_a_lost_uplink_reaches_on_its_own_wire_is_left() -> None:
    box = Box("a", "b")
    box.run(100)
    box.lose_default("a")
    box.run(101)
    assert broken(box)[0][1:] == ("a", (A,))
    assert "10.0.2.0/24" in box.broken[0][1].local


# --- doubt -----------------------------------------------------------------------------------------------------------


def test_a_doubt_breaks_what_was_never_answered_once() -> None:
    box = Box("a", "b")
    box.weather["a"] = dead(100, 101.2)
    box.run(150)
    doubt = next(at for at, notice in box.notices if "a ipv4 is doubtful" in notice.text)
    assert [(at, order.addresses) for at, order in unanswered(box)] == [(doubt, (A,))]
    assert not broken(box)


def test_a_doubt_breaks_nothing_while_traffic_stays() -> None:
    box = Box("a", "b")
    box.weather = {"a": dead(100, 101.2), "b": dead(20)}
    box.run(150)
    assert {order.uplink for _, order in box.broken} == {"b"}


# --- addresses -------------------------------------------------------------------------------------------------------


def readdress(box: Box, old: str, new: str | None) -> None:
    """A lease ends, and another begins."""
    kept = [a for a in box.facts.addresses if a.address != old]
    was = next(a for a in box.facts.addresses if a.address == old)
    box.facts = replace(box.facts, addresses=(*kept, *([replace(was, address=new)] if new else [])))
    box.stir()


@pytest.mark.parametrize("uplink", ["a", "b"])
def test_an_address_that_goes_takes_its_flows_along_whatever_the_verdict(uplink: str) -> None:
    box = Box("a", "b")
    box.run(100)
    old = A if uplink == "a" else B
    readdress(box, old, f"{old}2")
    box.run(100.1)
    assert broken(box) == [(100, uplink, (old,))]
    assert box.verdict(uplink).value in ("unknown", "up")


def test_an_address_that_is_back_before_anything_leads_anywhere_breaks_nothing() -> None:
    box = Box("a")
    box.run(100)
    facts = box.facts
    box.unplug("a")
    box.run(101)
    box.facts = facts
    box.stir()
    box.run(130)
    assert not box.broken


def test_an_address_that_moves_to_another_interface_is_still_held() -> None:
    box = Box("a", "b")
    box.run(100)
    readdress(box, A, None)
    box.facts = replace(box.facts, addresses=(*box.facts.addresses, Address(3, V4, A, 24)))
    box.stir()
    box.run(110)
    assert all(A not in order.addresses for _, order in box.broken)


def test_an_address_that_two_uplinks_hold_is_no_reason() -> None:
    box = Box("a", "b")
    box.facts = replace(box.facts, addresses=tuple(replace(a, address=A) for a in box.facts.addresses))
    box.restart(None)
    box.weather["a"] = dead(100)
    box.run(120)
    assert "conviction" in box.switches(100)[-1]
    assert not box.broken


def test_a_renamed_uplink_keeps_what_is_known_of_it() -> None:
    uplinks = [Uplink("a", "a"), Uplink("b", "b")]
    box = Box("a", "b", config=replace(QUICK, uplinks=tuple(uplinks)))
    box.run(100)
    readdress(box, A, None)
    box.run(101)
    assert broken(box)[0][1] == "a"


def test_an_uplink_that_is_none_any_more_takes_its_flows_along() -> None:
    uplinks = (Uplink("a", "a"), Uplink("b", "b"))
    box = Box("a", "b", config=replace(QUICK, uplinks=uplinks))
    box.run(100)
    box.tell(Reconfigured(replace(QUICK, uplinks=uplinks[1:])))
    box.run(101)
    assert broken(box) == [(100, "a", (A,))]
    assert "10.0.2.0/24" in box.broken[0][1].local


# --- failback --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("moves", [True, False])
def test_a_failback_takes_flows_along_only_if_it_is_told_to(moves: bool) -> None:
    box = Box("a", "b", config=replace(QUICK, policy=Policy(failback_moves_flows=moves)))
    box.weather["a"] = dead(100, 120)
    box.run(400)
    back = float(box.switches(121)[-1].split()[0])
    assert "failback" in box.switches(121)[-1]
    assert broken(box, back - 1) == ([(round(1 + GRACE, 3), "b", (B,))] if moves else [])


def test_a_relapse_within_the_grace_leaves_them() -> None:
    box = Box("a", "b", config=replace(QUICK, policy=Policy(failback_moves_flows=True)))
    box.weather["a"] = dead(100, 120)
    box.run(150)
    while box.active() != "a":
        box.run(box.now + 1)
    box.weather["a"] = dead(box.now)
    box.run(box.now + 60)
    assert all(name == "a" for _, name, _ in broken(box))


# --- what comes of it ------------------------------------------------------------------------------------------------


def test_what_cannot_be_broken_is_said() -> None:
    box = Box("a", "b")
    box.run(50)
    order = DestroySockets("a", Family.IPV4, (A,))
    box.tell(SocketsDestroyed(order, tcp=0, udp=0, error="the kernel is built without it"))
    box.run(51)
    assert told(box, 50, NoticeKind.KERNEL) == [
        "a ipv4: open flows cannot be broken: the kernel is built without it"
    ]
    assert not told(box, 50, NoticeKind.FLOWS)


def test_a_sleep_breaks_nothing() -> None:
    box = Box("a", "b")
    box.run(100)
    box.tell(Resumed(3600.0))
    box.run(200)
    assert not box.broken


def test_a_way_that_comes_and_goes_does_not_add_sweeps() -> None:
    box = Box("a", "b", "c")
    box.weather = {"a": dead(100), "b": dead(102.2, 140), "c": dead(50, 150)}
    box.run(240)
    mine = [at for at, name, _ in broken(box) if name == "a"]
    assert 1 <= len(mine) <= 3
