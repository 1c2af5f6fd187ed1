"""Scripts unrolled: phases, loops, ramps, families, and what the kernel sees of them."""

from __future__ import annotations

from failover.model import Family
from failover.sim.links import Bursts, Conditions
from failover.sim.script import Actor, Carrier, Lease, Phase, Played, Script, Weather, unroll

BOTH = (Family.IPV4, Family.IPV6)


def script(*phases: Phase, families: tuple[Family, ...] = (Family.IPV4,), length: float = 100.0) -> Script:
    return Script("t", (Actor("au", phases=phases),), length, families, settle=10.0)


def stretches(played: Script, family: Family = Family.IPV4) -> list[tuple[float, Conditions]]:
    timeline = unroll(played, 1).timelines["au", family]
    return list(zip(timeline.starts, timeline.conditions, strict=True))


def losses(played: Script, family: Family = Family.IPV4) -> list[tuple[float, float]]:
    return [(start, here.loss) for start, here in stretches(played, family)]


def test_settling_phases_and_the_rest() -> None:
    played = script(Phase(until=20, changes={"loss": (1.0, 1.0)}), Phase(lasts=5, changes={"passes": 0.5}))
    found = [(start, here.loss, here.passes) for start, here in stretches(played)]
    assert found == [(-10.0, 0, 1), (0.0, 1, 1), (20.0, 0, 0.5), (25.0, 0, 1)]


def test_a_loop_keeps_its_period_and_ends_with_its_phase() -> None:
    parts = (Phase(lasts=6, changes={"registered": False}), Phase(lasts=2))
    assert losses(script(Phase(until=20, cycle=parts)))[1:] == [(0, 1), (6, 0), (8, 1), (14, 0), (16, 1), (20, 0)]


def test_a_loop_stands_on_its_phase() -> None:
    parts = (Phase(lasts=5, changes={"loss": (1.0, 1.0)}), Phase(lasts=5))
    played = script(Phase(until=10, changes={"passes": 0.3}, cycle=parts))
    assert [here.passes for _, here in stretches(played)[1:3]] == [0.3, 0.3]


def test_a_growing_loss_grows_from_its_first_to_its_last_value() -> None:
    ramp = losses(script(Phase(until=40, changes={"loss": (0.05, 0.2)})))[1:-1]
    values = [loss for _, loss in ramp]
    assert (values[0], round(values[-1], 9), values == sorted(values)) == (0.05, 0.2, True)
    assert len(ramp) == 40


def test_a_phase_of_one_family_leaves_the_other_alone() -> None:
    played = script(Phase(until=20, changes={"one_way": True}, families=(Family.IPV6,)), families=BOTH)
    assert [loss for _, loss in losses(played, Family.IPV6)] == [0, 1, 0]
    assert not any(loss for _, loss in losses(played, Family.IPV4))


def test_a_stall_holds_its_replies_to_its_own_end() -> None:
    found = stretches(script(Phase(until=20), Phase(lasts=8, changes={"stalled": True})))
    assert [(start, here.held_until) for start, here in found if here.held_until] == [(20.0, 28.0)]


def test_what_the_kernel_sees() -> None:
    played = script(
        Phase(until=20, changes={"link": False}),
        Phase(until=30, changes={"address": False}, families=(Family.IPV6,)),
        families=BOTH,
    )
    acts = [(at, act) for at, act in unroll(played, 1).acts if not isinstance(act, Played)]
    assert acts == [
        (0.0, Carrier("au", False)),
        (20.0, Carrier("au", True)),
        (20.0, Lease("au", Family.IPV6, False)),
        (30.0, Lease("au", Family.IPV6, True)),
    ]


def test_one_seed_one_course() -> None:
    actor = Actor("au", everyday=Weather(bursts=Bursts(0.01, 0.7)))
    played = Script("t", (actor,), 5000.0)
    one, same, other = (unroll(played, seed).timelines["au", Family.IPV4].starts for seed in (1, 1, 2))
    assert one == same
    assert one != other


def test_bursts_that_are_to_stay_apart_never_meet() -> None:
    weather = Weather(bursts=Bursts(0.02, 0.8))
    actors = tuple(Actor(name, everyday=weather) for name in ("a", "b", "c"))
    course = unroll(Script("t", actors, 20_000.0, apart=True), 1)
    cursors = [timeline.cursor() for timeline in course.timelines.values()]
    dead = [sum(cursor.at(moment / 10).dead for cursor in cursors) for moment in range(200_000)]
    assert max(dead) == 1
    assert sum(dead) > 1000
