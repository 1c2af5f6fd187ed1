"""What MPTCP connections are offered, and when a way is taken from them and given back."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

from failover.config import Config, Reconfigured
from failover.core.multipath import ENDPOINTS_MAX, REFRESH
from failover.model import Verdict
from failover.seam import WithdrawEndpoints

from .box import PINGS, PINGS6, QUICK, Box, dead
from .worlds import V4, V6

A, B, C = "10.0.2.2", "10.0.3.2", "10.0.4.2"


def offered(box: Box, since: float = 0.0) -> list[dict[str, bool]]:
    return [dict(keep.addresses) for at, keep in box.offered if at >= since]


def withdrawn(box: Box, since: float = 0.0) -> list[tuple[tuple[str, ...], bool]]:
    return [(order.addresses, order.spare) for at, order in box.withdrawn if at >= since]


def test_every_uplink_offers_its_address_and_the_standby_for_backup() -> None:
    box = Box("a", "b")
    box.run(30)
    assert offered(box)[-1] == {A: False, B: True}


def test_in_both_families_and_no_more_than_the_kernel_takes() -> None:
    box = Box("a", "b", "c", "d", "e", config=Config(targets=(*PINGS, *PINGS6)), families=(V4, V6))
    box.run(30)
    last = offered(box)[-1]
    assert len(last) == ENDPOINTS_MAX
    assert list(last)[:4] == [A, "2001:db8:2::2", B, "2001:db8:3::2"]


def test_a_doubt_withdraws_what_can_be_spared_and_a_conviction_all() -> None:
    box = Box("a", "b")
    box.weather["a"] = dead(100, 130)
    box.run(129)
    doubt = next(at for at, notice in box.notices if "a ipv4 is doubtful" in notice.text)
    assert withdrawn(box)[:2] == [((A,), True), ((A,), False)]
    assert box.withdrawn[0] == (doubt, WithdrawEndpoints((A,), (B,), spare=True))
    assert offered(box)[-1] == {B: False}


def test_a_way_is_taken_before_its_sockets_are_broken() -> None:
    order: list[str] = []
    box = Box("a", "b")
    box.weather["a"] = dead(100)
    box.run(99)
    handle = box.engine.wake
    box.engine.wake = lambda now: [order.append(type(one).__name__) or one for one in handle(now)]  # type: ignore[method-assign, func-returns-value]
    box.run(104)
    steps = [name for name in order if name in ("WithdrawEndpoints", "DestroySockets")]
    assert steps[-2:] == ["WithdrawEndpoints", "DestroySockets"]


def test_nothing_is_offered_anew_while_in_doubt() -> None:
    box = Box("a", "b")
    box.weather["a"] = dead(100, 103)
    box.run(100)
    while box.verdict("a") is not Verdict.DOUBTFUL:
        box.run(box.now + 0.05)
    since = box.now
    box.facts = replace(box.facts, addresses=tuple(a for a in box.facts.addresses if a.address != B))
    box.stir()
    box.run(since + 0.05)
    assert offered(box, since) == []
    box.run(since + 30)
    assert B not in offered(box)[-1]


def test_after_an_acquittal_it_is_offered_again() -> None:
    box = Box("a", "b")
    box.weather["a"] = dead(100, 101.2)
    box.run(100)
    before = offered(box)[-1]
    box.run(110)
    assert withdrawn(box) == [((A,), True), ((A,), True)], "the second one renews what is somebody else's"
    assert offered(box, 100)[0] == before


def test_it_is_offered_again_once_no_other_is_in_doubt() -> None:
    box = Box("a", "b", "c")
    box.weather = {"a": dead(100, 101.2), "c": dead(100.9, 104)}
    box.run(100)
    before = offered(box)[-1]
    box.run(103)
    assert box.verdict("a") is Verdict.UP
    box.run(130)
    assert before in offered(box, 100)


def test_a_divert_changes_no_flag() -> None:
    box = Box("a", "b")
    box.weather["a"] = dead(100, 101.2)
    box.run(120)
    assert {tuple(keep.items()) for keep in offered(box, 50)} == {((A, False), (B, True))}


def test_it_is_seen_to_again_once_a_minute() -> None:
    box = Box("a", "b")
    box.run(10)
    for at in range(20, 500, 10):
        box.at(at, box.stir)
    box.run(500)
    times = [at for at, _ in box.offered]
    assert all(REFRESH <= later - sooner <= REFRESH + 10 for sooner, later in pairwise(times[2:]))
    assert len(times) > 6


def test_an_address_that_two_uplinks_hold_is_not_offered() -> None:
    box = Box("a", "b", "c")
    shared = tuple(replace(a, address=A) if a.address == B else a for a in box.facts.addresses)
    box.facts = replace(box.facts, addresses=shared)
    box.restart(None)
    box.run(30)
    assert offered(box)[-1] == {C: True}


def test_off_offers_nothing_and_takes_back_what_was_offered() -> None:
    box = Box("a", "b", config=replace(QUICK, mptcp=False))
    box.weather["a"] = dead(100)
    box.run(120)
    assert (offered(box), withdrawn(box)) == ([], [])
    box = Box("a", "b")
    box.run(30)
    box.tell(Reconfigured(replace(QUICK, mptcp=False)))
    box.run(60)
    assert offered(box)[-1] == {}
