"""Explanations: in each kind of situation the rule, the objections and the prospects; and that they come true."""

from __future__ import annotations

import random
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace

import pytest

from failover.config import Config, Metered, Policy, Uplink
from failover.core.engine import Engine
from failover.core.policy import RULES
from failover.facts import Counts, Gateway
from failover.model import Auto, Command, Drain, Family, Outcome, Undrain, Use, Verdict
from failover.picture import CandidateView, Explanation
from failover.seam import Asked

from .box import PINGS, PINGS6, QUICK, RTT, WEB, Box, dead, lossy
from .seer import Seer, sound
from .worlds import V4, V6


def told(box: Box, family: Family = V4) -> Explanation:
    (found,) = [one for one in sound(box.engine, box.now) if one.family is family]
    return found


def objections(box: Box) -> dict[str, str]:
    return {candidate.name: candidate.objection for candidate in told(box).candidates}


def events(box: Box) -> list[str]:
    """What would change it, as far as it does not hang on time."""
    return [prospect.text for prospect in told(box).prospects if prospect.after_seconds is None]


def times(box: Box) -> list[tuple[str, float]]:
    return [(p.text, round(p.after_seconds, 2)) for p in told(box).prospects if p.after_seconds is not None]


SILENT = "is silent for 0.35 s, and two sends unanswered"
POOR = "loses 20 % of its probes, or takes 4 times as long as usual"
LOST = "is lost: silent for 1.5 s while another uplink receives, or without carrier"


def healthy() -> Box:
    return Box("au", "docomo").run(60)


def outage(until: float = 200.0) -> Box:
    box = Box("au", "docomo")
    box.weather["au"] = dead(100, until)
    return box


# --- each kind of situation ------------------------------------------------------------------------------------------


def test_before_the_kernel_is_read_there_is_nothing_to_explain() -> None:
    assert Engine(Config(), lambda: 0.5).explain(1.0) == ()


def test_all_is_well() -> None:
    box = healthy()
    one = told(box)
    assert (one.rule, one.text) == ("stay", "au is up, and none is preferred to it")
    assert objections(box) == {"au": "", "docomo": "comes after au"}
    assert events(box) == [
        f"new flows go to docomo when au {SILENT}",
        f"new flows go to docomo when au {POOR}",
        f"all traffic goes to docomo when au {LOST}",
    ]
    assert times(box) == []
    au, docomo = one.candidates
    assert (au.preference, au.active, au.settled, au.proven, au.owed_seconds, au.relapses) == (
        0,
        True,
        True,
        True,
        0,
        0,
    )
    assert (docomo.preference, docomo.active, docomo.settled, docomo.drained) == (1, False, False, False)
    assert au.numbers["rtt_seconds"] == pytest.approx(RTT)
    assert {"silence_seconds", "loss_ratio", "unanswered_probes"} <= au.numbers.keys()
    assert 0 < au.numbers["last_proven_seconds"] < 1
    assert au.numbers["doubt_after_seconds"] == 0.35


def test_a_doubt() -> None:
    box = outage().run(100)
    while box.active() == "au":
        box.run(box.now + 0.1)
    one = told(box)
    assert (one.decision.active, one.decision.settled, one.rule) == ("docomo", "au", "stay")
    assert one.text.startswith("docomo is up; au is doubtful: silent for 0.35 s")
    assert one.text.endswith("; forwarded traffic stays with au, which is not lost")
    assert "new flows go back to au when au has been healthy for 10 s on end" in events(box)
    assert f"forwarded traffic goes to docomo when au {LOST}" in events(box)
    au = next(candidate for candidate in one.candidates if candidate.name == "au")
    assert au.numbers["silence_seconds"] > 0.35
    assert au.numbers["unanswered_probes"] >= 2
    assert (au.owed_seconds, au.settled) == (None, True)


def test_a_doubt_of_a_gateway_holds_back_what_is_forwarded_of_others() -> None:
    box = Box("au", "docomo", config=replace(QUICK, gateway=Gateway(("br-lan",))))
    box.weather["au"] = dead(100, 200)
    box.run(100)
    while box.active() == "au":
        box.run(box.now + 0.1)
    assert told(box).text.endswith("; other forwarded traffic stays with au, which is not lost")
    assert any(text.startswith("other forwarded traffic goes to docomo when au is lost") for text in events(box))


def test_a_conviction_and_the_hold_down_after_it() -> None:
    box = outage().run(150)
    assert told(box).text.startswith("docomo is up; au is down: silent for 1.5 s")
    assert times(box) == []
    assert events(box) == ["new flows go back to au when au has been healthy for 60 s on end"]
    box.run(217)
    assert (told(box).rule, told(box).text) == ("stay", "docomo is up; au is in its hold-down")
    (soon,) = times(box)
    assert soon[0] == "new flows go back to au when au has been healthy for its hold-down of 60 s"
    box.run(217 + soon[1] - 0.02)
    assert box.active() == "docomo"
    box.run(box.now + 0.04)
    assert box.active() == "au"
    assert objections(box) == {"au": "", "docomo": "comes after au"}


def test_the_operators_use_and_its_end() -> None:
    box = healthy()
    box.ask(Use("docomo", 7200))
    box.run(70)
    one = told(box)
    assert (one.rule, one.text) == ("use", "the operator uses docomo")
    assert times(box) == [("all traffic goes back to au when `use docomo` ends", 7190.0)]
    assert "all traffic goes back to au on `failover auto`" in events(box)
    assert objections(box)["au"] == "is not docomo, which the operator uses"
    box.ask(Auto())
    assert told(box).rule == "stay"


def test_a_use_that_has_to_wait() -> None:
    box = outage().run(60)
    box.ask(Use("au", 7200))
    box.run(110)
    assert told(box).text.startswith("`use au` waits: au is down: silent")
    assert "all traffic goes back to au when au has been healthy for 60 s on end" in events(box)
    box.run(230)
    assert told(box).text.startswith("`use au` waits: au is in its hold-down; docomo is up")
    box.unplug("au")
    box.run(240)
    assert told(box).text.startswith("`use au` waits: au is absent: no interface")


def test_a_strict_use_of_what_is_dead() -> None:
    box = outage().run(90)
    box.ask(Use("au", 100, strict=True))
    box.run(120)
    one = told(box)
    assert (one.rule, one.text, one.decision.active) == ("use", "the operator uses au", "au")
    assert [text for text, _ in times(box)] == ["all traffic goes to docomo when `use au` ends"]


def test_drained() -> None:
    box = healthy()
    box.ask(Drain("au"))
    assert objections(box) == {"docomo": "", "au": "is drained"}
    assert "all traffic goes back to au on `failover undrain au`" in events(box)
    box.ask(Drain("docomo", force=True))
    box.run(70)
    assert told(box).text == "au is drained, and no other uplink can take its place"
    assert "all traffic goes to docomo on `failover undrain docomo`" in events(box)


def test_all_silent() -> None:
    box = Box("au", "docomo")
    box.weather["au"] = box.weather["docomo"] = dead(100)
    box.run(130)
    one = told(box)
    assert one.rule == "doubt"
    assert one.text.endswith("and no other uplink is proven")
    assert "new flows go to docomo when docomo answers" in events(box)
    assert times(box) == []


def test_a_brownout_with_nowhere_to_go() -> None:
    box = Box("au", "docomo")
    box.weather["au"] = lossy(0.4, start=60)
    box.weather["docomo"] = dead(58)
    box.run(150)
    one = told(box)
    assert one.rule == "degraded"
    assert "and no other uplink is better" in one.text
    assert "new flows go to docomo when docomo has been healthy for 60 s on end" in events(box)


def test_nothing_proven_yet_is_not_left() -> None:
    box = Box("au", "docomo")
    box.weather["au"] = dead(0)
    box.run(0.2)
    one = told(box)
    assert one.rule == "unknown"
    assert one.text == "au is unknown (not yet probed), and not left for that"


def test_no_default_route_and_no_uplink_at_all() -> None:
    box = Box("au", "docomo").run(20)
    box.lose_default("au")
    box.lose_default("docomo")
    box.run(30)
    one = told(box)
    assert (one.rule, one.text, one.decision.active) == ("no-route", "no uplink has a default route", None)
    assert events(box)[0] == "all traffic goes to au when au has a default route"
    assert objections(box)["au"] == "is absent: no default route"
    assert told(Box().run(5)).candidates == ()


def test_lost_and_nothing_better() -> None:
    box = Box("au", "docomo").run(20)
    box.change("au", carrier=False)
    box.change("docomo", carrier=False)
    box.run(30)
    one = told(box)
    assert (one.rule, one.text) == ("lost", "docomo no carrier, and no other uplink is better off")
    assert "all traffic goes back to au when au answers" in events(box)


def test_a_portal() -> None:
    box = Box("au", "docomo").run(20)
    box.weather["au"] = lambda *_: Outcome.PORTAL
    box.run(40)
    assert box.active() == "docomo"
    assert "new flows go back to au when au is rid of its portal" not in events(box), "it owes a hold-down"
    assert "new flows go back to au when au has been healthy for 60 s on end" in events(box)


def test_a_portal_with_nowhere_better_does_not_fall_silent() -> None:
    box = Box("au", "docomo", config=Config(targets=(*PINGS, WEB))).run(20)
    box.weather["au"] = lambda _, target: Outcome.PORTAL if target.kind.is_web else None
    box.run(500)
    box.weather["docomo"] = dead(500)
    box.run(600)
    assert (box.active(), told(box).rule) == ("docomo", "doubt")
    box.ask(Use("au", strict=True))
    box.ask(Auto())
    box.run(601)
    assert told(box).rule == "lost"
    assert [text for text in events(box) if "au" in text and LOST in text] == []


def test_a_doubt_with_a_standby_that_has_not_answered_its_newest_probe() -> None:
    engine = Box("au", "docomo").run(60).engine
    au, docomo = engine._fleet.by_family[V4]
    au.health.verdict = Verdict.DOUBTFUL
    docomo.health.flight._late = {PINGS[0].url: 1}
    told = engine.explain(60)[0]
    assert "new flows go to docomo when docomo answers its newest probe" in [p.text for p in told.prospects]
    docomo.health.flight.heard()
    assert not any("newest probe" in p.text for p in engine.explain(60)[0].prospects)


def test_what_has_no_default_route_must_get_one_first_and_the_least_that_helps_is_told() -> None:
    box = Box(
        "au", "docomo", config=Config(targets=PINGS, uplinks=(Uplink("au", "au"), Uplink("docomo", "docomo")))
    ).run(60)
    box.lose_default("au")
    box.run(100)
    assert "new flows go back to au when au has a default route and has been healthy for 60 s on end" in events(box)
    box.lose_default("docomo")
    box.run(101)
    assert events(box) == [
        "all traffic goes to au when au has a default route",
        "all traffic goes to docomo when docomo has a default route",
    ]


def test_in_a_brownout_that_nobody_can_take_over_a_doubt_would_still_divert() -> None:
    box = Box("au", "docomo")
    box.weather["docomo"] = dead(100, 150)
    box.weather["au"] = lambda now, _: 0.3 if now > 152 else RTT
    box.run(180)
    assert (box.active(), told(box).rule) == ("au", "degraded")
    assert any(text.startswith("new flows go to docomo when au is silent for") for text in events(box))


def test_of_two_hold_downs_the_later_one_counts_from_where_the_earlier_one_leads() -> None:
    box = Box("a", "b", "c")
    box.weather["a"], box.weather["b"] = dead(100, 120), dead(100, 130)
    box.run(150)
    [(first, soon)] = times(box)
    assert first == "new flows go back to a when a has been healthy for its hold-down of 60 s"
    assert 25 < soon < 35, "b's end, ten seconds later, brings nothing"
    box = Box("a", "b", "c")
    box.weather["a"], box.weather["b"] = dead(100, 130), dead(100, 120)
    box.run(150)
    assert [text.split(" when")[0] for text, _ in times(box)] == ["new flows go back to b", "new flows go back to a"]


def test_families_are_explained_apart() -> None:
    box = Box("au", "docomo", config=Config(targets=(*PINGS, *PINGS6)), families=(V4, V6)).run(20)
    box.lose_default("au", V6)
    box.run(30)
    assert (told(box, V4).decision.active, told(box, V6).decision.active) == ("au", "docomo")
    assert told(box, V6).candidates[-1].name == "au"


# --- the evidence ----------------------------------------------------------------------------------------------------


def counting(replies: Callable[[float], float]) -> Callable[[float], dict[tuple[str, Family], Counts]]:
    """Ten packets a second over `au`; so many are answered by a moment."""
    return lambda now: {("au", V4): Counts(received=int(10 * replies(now)), sent=int(10 * now))}


def candidate(box: Box, name: str) -> CandidateView:
    return next(one for one in told(box).candidates if one.name == name)


def test_the_users_traffic_is_told_where_it_is_counted() -> None:
    box = Box("au", "docomo")
    box.counts = counting(lambda now: now)
    box.run(60)
    au, docomo = candidate(box, "au"), candidate(box, "docomo")
    assert (au.counted, docomo.counted) == ("flows", "no")
    assert 0 <= au.numbers["user_replied_seconds"] < 0.2
    assert not {"user_replied_seconds", "held_back_seconds"} & docomo.numbers.keys()
    assert "held_back_seconds" not in au.numbers


def test_interfaces_own_counters_are_told_apart_and_prove_no_reply() -> None:
    box = Box("au", "docomo")
    box.counts, box.weak = counting(lambda now: now), True
    box.run(60)
    au = candidate(box, "au")
    assert (au.counted, "user_replied_seconds" in au.numbers) == ("interface", False)


def test_a_suspicion_that_a_probe_has_refuted_is_held_back() -> None:
    box = Box("au", "docomo")
    box.counts = counting(lambda now: min(now, 60.0))
    box.run(61.5)
    au = candidate(box, "au")
    assert au.verdict is Verdict.UP
    assert 0 < au.numbers["held_back_seconds"] <= 5
    assert 1.3 < au.numbers["user_replied_seconds"] < 1.6


def test_what_is_left_of_a_budget_and_when_flapping_is_forgiven() -> None:
    config = Config(targets=PINGS, uplinks=(Uplink("au", "au", metered=Metered()), Uplink("docomo", "docomo")))
    box = Box("au", "docomo", config=config)
    box.weather["au"] = dead(60, 100)
    box.run(110)
    au, docomo = candidate(box, "au"), candidate(box, "docomo")
    assert 0 < au.numbers["budget_remaining_bytes"] < 30e6 / 30 * 2
    assert "budget_remaining_bytes" not in docomo.numbers
    assert (docomo.relapses, docomo.forgiven_seconds) == (0, None)
    assert au.relapses == pytest.approx(2 ** (-(au.forgiven_seconds or 0) / -900) * 0.05)
    assert au.last_silence.startswith("silent ")
    assert au.numbers["silences_lost_count"] == 1
    (shown,) = (view.families[V4] for view in box.engine.snapshot().uplinks if view.name == "au")
    assert (shown.silences_lost, shown.silences_buffered, shown.last_silence) == (1, 0, au.last_silence)
    assert shown.penalty.left(box.now) == au.relapses


# --- they come true --------------------------------------------------------------------------------------------------

CONFIGS = (
    Config(targets=(*PINGS, *PINGS6)),
    Config(targets=(*PINGS, *PINGS6), policy=Policy(failback_after=20.0, failback_moves_flows=True)),
    Config(targets=PINGS, uplinks=(Uplink("b", "b", metered=Metered()), Uplink("a", "a"), Uplink("c", "c"))),
)


def deed(box: Box, dice: random.Random) -> Callable[[], object]:
    """Something that happens once; afterwards it is quiet for a while."""
    name, start = dice.choice("aabc"), box.now
    lasts = dice.choice((0.8, 5.0, 40.0))
    return dice.choice(
        (
            lambda: box.weather.update({name: dead(start, start + lasts)}),
            lambda: box.weather.update({name: lambda now, _: None if now % 1 < 0.2 and now < start + lasts else RTT}),
            lambda: box.ask(Use(name, dice.choice((3.0, 30.0, 100.0)), strict=dice.random() < 0.5)),
            lambda: box.ask(Drain(name)),
            lambda: box.ask(Undrain(name)),
            lambda: box.ask(Auto()),
            lambda: box.change(name, carrier=False),
            lambda: box.change(name, carrier=True),
            lambda: box.restart(box.engine.memory(box.now)),
        )
    )


def make_peace(box: Box) -> None:
    for name in "abc":
        box.change(name, carrier=True)
        box.ask(Undrain(name))
    box.ask(Auto())


def words_come_true(engine: Engine, now: float) -> int:
    """What is said of `auto` and `undrain` is what they do, and where nothing is said they move nothing."""
    names = [view.name for view in engine.snapshot().uplinks if view.drained]
    commands: dict[str, Command] = {f"`failover undrain {name}`": Undrain(name) for name in names}
    if engine.snapshot().use is not None:
        commands["`failover auto`"] = Auto()
    seen = 0
    for one in engine.explain(now):
        for words, command in commands.items():
            other = deepcopy(engine)
            Engine.handle(other, now, Asked(1, command))
            then = other.snapshot().decisions[one.family]
            moved = (then.active, then.settled) != (one.decision.active, one.decision.settled)
            said = [prospect.text for prospect in one.prospects if prospect.text.endswith(f" on {words}")]
            assert bool(said) is moved, (words, said, then)
            way = then.settled if then.active == one.decision.active else then.active
            assert all(f" to {way} on " in text for text in said)
            seen += moved
    return seen


@pytest.mark.parametrize("seed", range(6))
def test_what_is_foretold_comes_in_time_and_nothing_comes_by_time_alone_that_was_not(seed: int) -> None:
    """The Seer sees to it at every step; here is what makes it see something."""
    dice = random.Random(seed)
    box = Box(*"abc", config=CONFIGS[seed % len(CONFIGS)], seed=seed, families=(V4, V6), brain=Seer)
    rules, seers, moved = set(), {box.engine}, 0
    for _ in range(80):
        if dice.random() < 0.4:
            make_peace(box)
        deed(box, dice)()
        box.run(box.now + dice.choice((1.0, 12.0, 130.0)))
        rules |= {one.rule for one in sound(box.engine, box.now)}
        seers.add(box.engine)
        moved += words_come_true(box.engine, box.now)
    assert sum(seer.fulfilled for seer in seers if isinstance(seer, Seer)) >= 5
    assert moved >= 5
    assert {"stay", "use"} <= rules <= set(RULES)
