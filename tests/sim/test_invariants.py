"""Every invariant caught in the act: a broken agent or a broken kernel is planted, and the run ends with its story."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace

import pytest

from failover.config import Config, Detection, Policy
from failover.core.engine import Engine, Event
from failover.facts import (
    METRIC_CHOSEN,
    TABLE_MAIN,
    Operation,
    OperationResult,
    Route,
    RouteKind,
    Rule,
    RuleAction,
    Sysctl,
    Verb,
)
from failover.model import Family, Reason
from failover.picture import FamilyView, Snapshot
from failover.seam import Apply, Effect, KernelRead
from failover.sim import stage
from failover.sim.invariants import InvariantError
from failover.sim.kernel import VirtualKernel
from failover.sim.script import Actor, Phase, Script, Suspend
from failover.sim.world import Brain

Dice = Callable[[], float]
OUTAGE = (Phase(until=20), Phase(until=26, changes={"loss": (1.0, 1.0)}))
DOUBT = (Phase(until=20), Phase(until=21.4, changes={"loss": (1.0, 1.0)}), Phase(until=25))


def play(
    brain: Callable[[Config, Dice], Brain] = Engine, phases: tuple[Phase, ...] = OUTAGE, family: Family = Family.IPV4
) -> None:
    actors = Actor("au", phases=phases), Actor("docomo")
    script = Script("t", actors, 400.0, families=(family,), acts=((300.0, Suspend(60.0)),))
    stage.play_script(script, Config(), None, 1, brain)


class Meddler(Engine):
    """A sound engine whose last word on each event is another one's."""

    def handle(self, now: float, event: Event) -> list[Effect]:
        return self.meddle(event, super().handle(now, event))

    def meddle(self, event: Event, effects: list[Effect]) -> list[Effect]:
        raise AssertionError("a meddler meddles")


def adds(operation: Operation) -> type[Engine]:
    """An engine that slips in an operation with its first change."""

    class Adds(Meddler):
        done = False

        def meddle(self, event: Event, effects: list[Effect]) -> list[Effect]:
            if self.done or not any(isinstance(effect, Apply) for effect in effects):
                return effects
            self.done = True
            return [*effects, Apply((operation,))]

    return Adds


def test_a_sound_engine_breaks_nothing() -> None:
    play(phases=OUTAGE)
    play(phases=DOUBT)


def test_no_default_while_a_link_has_an_address() -> None:
    wall = Rule(Family.IPV4, 15500, action=RuleAction.UNREACHABLE)
    with pytest.raises(InvariantError, match="no ipv4 default for new flows"):
        play(adds(Operation(Verb.ADD, wall)))


def test_no_default_for_settled_flows() -> None:
    wall = Rule(Family.IPV4, 15589, action=RuleAction.UNREACHABLE)
    with pytest.raises(InvariantError, match="no ipv4 default for open and forwarded flows"):
        play(adds(Operation(Verb.ADD, wall)))


@pytest.mark.parametrize(
    "item",
    [
        Route(Family.IPV4, TABLE_MAIN, 100, interface=2, protocol=16),
        Route(Family.IPV4, 15500, 1, interface=2, protocol=16),
        Rule(Family.IPV4, 32766, table=TABLE_MAIN, protocol=2),
        Sysctl("net/ipv4/conf/all/forwarding", "1"),
    ],
    ids=["a route of main", "a foreign route in our table", "the kernel's rule", "a sysctl"],
)
def test_hands_on_what_is_not_ours(item: Route | Rule | Sysctl) -> None:
    verb = Verb.SET if isinstance(item, Sysctl) else Verb.DELETE
    with pytest.raises(InvariantError, match="an operation on what is not ours"):
        play(adds(Operation(verb, item)))


def test_foreign_objects_that_vanish_along_with_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    class Clumsy(VirtualKernel):
        def apply(self, operations: object) -> tuple[OperationResult, ...]:
            results = super().apply(operations)  # type: ignore[arg-type]
            self.withdraw_default("docomo", Family.IPV4)
            return results

    monkeypatch.setattr(stage, "VirtualKernel", Clumsy)
    with pytest.raises(InvariantError, match="foreign objects changed by"):
        play()


def impatient(detection: Detection | None = None, policy: Policy | None = None) -> Callable[[Config, Dice], Brain]:
    """An engine that heeds shorter hold-downs than the operator's."""

    def make(config: Config, dice: Dice) -> Brain:
        other = replace(config, detection=detection or config.detection, policy=policy or config.policy)
        return Engine(other, dice)

    return make


def test_a_return_too_soon_after_a_doubt() -> None:
    with pytest.raises(InvariantError, match=r"au ipv4 is in its hold-down of 10 s \(answers for [0-9.]+ s\)"):
        play(impatient(detection=Detection(return_after=2.0)), DOUBT)


def test_a_return_too_soon_after_a_conviction() -> None:
    with pytest.raises(InvariantError, match="au ipv4 is in its hold-down of 60 s"):
        play(impatient(policy=Policy(failback_after=20.0)))


def test_a_return_without_an_end_of_the_hold_down_in_sight() -> None:
    class Secretive(Engine):
        def snapshot(self) -> Snapshot:
            told = super().snapshot()
            uplinks = tuple(replace(view, families=open_ended(view.families)) for view in told.uplinks)
            return replace(told, uplinks=uplinks)

    with pytest.raises(InvariantError, match="au ipv4 had no end of its hold-down in sight"):
        play(Secretive)


def open_ended(families: Mapping[Family, FamilyView]) -> dict[Family, FamilyView]:
    return {family: replace(seen, hold_until=None) for family, seen in families.items()}


def test_a_kernel_that_is_not_as_decided() -> None:
    class Idle(Meddler):
        """Says that it switched, and leaves the kernel alone."""

        def meddle(self, event: Event, effects: list[Effect]) -> list[Effect]:
            if isinstance(event, KernelRead):
                return effects
            return [effect for effect in effects if not isinstance(effect, Apply)]

        def wake(self, now: float) -> list[Effect]:
            return [effect for effect in super().wake(now) if not isinstance(effect, Apply)]

    with pytest.raises(InvariantError, match="at rest, and ipv4 active goes by au, not by docomo"):
        play(Idle)


def says(**change: object) -> type[Engine]:
    """An engine that tells of other decisions than those it carries out."""

    class Liar(Engine):
        def snapshot(self) -> Snapshot:
            told = super().snapshot()
            decisions = {family: replace(one, **change) for family, one in told.decisions.items()}  # type: ignore[arg-type]
            return replace(told, decisions=decisions)

    return Liar


def never(_: object) -> bool:
    return False


def deaf(routes: Callable[[Route], bool] = never, rules: Callable[[Rule], bool] = never) -> type[VirtualKernel]:
    """A kernel that says it took them, and did not."""

    class Deaf(VirtualKernel):
        def add_route(self, route: Route) -> str | None:
            return None if routes(route) else super().add_route(route)

        def add_rule(self, rule: Rule) -> str | None:
            return None if rules(rule) else super().add_rule(rule)

    return Deaf


NO_FALLBACKS = deaf(lambda route: route.table == 15500 and route.metric > METRIC_CHOSEN)
NO_SETTLED_FALLBACKS = deaf(lambda route: route.table == 15590 and route.metric > METRIC_CHOSEN)
NO_MARKS = deaf(rules=lambda rule: rule.fwmask == Config().fwmark_mask)
NO_SOURCE = deaf(rules=lambda rule: rule.source == "10.2.0.2/32")
NO_FLOOR = deaf(lambda route: route.table == 15502 and route.kind is RouteKind.UNREACHABLE)
NO_FLOOR_RULE = deaf(rules=lambda rule: rule.action is RuleAction.UNREACHABLE and rule.source == "2001:db8:2::2/128")
FORGETFUL = deaf(lambda route: route.table in (15500, 15590) and route.metric == 102)

# fmt: off
UNREST: dict[str, tuple[type[Engine], type[VirtualKernel], str]] = {
    "active": (says(active="docomo"), VirtualKernel, "ipv4 active goes by au, not by docomo"),
    "settled": (says(settled="docomo"), VirtualKernel, "ipv4 settled goes by au, not by docomo"),
    "mark": (Engine, NO_MARKS, "ipv4 mark 0x2000000 goes by au, not by docomo"),
    "source": (Engine, NO_SOURCE, "ipv4 from 10.2.0.2 goes by au, not by docomo"),
    "floor": (Engine, NO_FLOOR, "ipv4 rules ask table 15502, which has no floor"),
    "new flows": (Engine, NO_FALLBACKS, "ipv4 fallbacks in table 15500 are none, not au, docomo"),
    "settled flows": (Engine, NO_SETTLED_FALLBACKS, "ipv4 fallbacks in table 15590 are none, not au, docomo"),
    "order": (says(order=("docomo", "au")), VirtualKernel, "ipv4 fallbacks in table 15500 are au, docomo, not docomo"),
    "an uplink": (says(order=("au",)), FORGETFUL, "docomo is no ipv4 fallback although it has a default route"),
}
# fmt: on


@pytest.mark.parametrize(("brain", "kernel", "message"), UNREST.values(), ids=UNREST)
def test_a_kernel_that_does_not_rest_as_decided(
    brain: type[Engine], kernel: type[VirtualKernel], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage, "VirtualKernel", kernel)
    with pytest.raises(InvariantError, match=f"at rest, and {message}"):
        play(brain)


def test_an_ipv6_lookup_that_falls_through(monkeypatch: pytest.MonkeyPatch) -> None:
    """There a rule is the floor."""
    monkeypatch.setattr(stage, "VirtualKernel", NO_FLOOR_RULE)
    with pytest.raises(InvariantError, match="at rest, and ipv6 rules ask table 15502, which has no floor"):
        play(family=Family.IPV6)


def test_a_kernel_that_never_does_as_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    class Idle(VirtualKernel):
        def replace_route(self, route: Route) -> str | None:
            return None

    class Stubborn(Meddler):
        """Repairs at once and for ever."""

        def meddle(self, event: Event, effects: list[Effect]) -> list[Effect]:
            again = isinstance(event, KernelRead) and not any(isinstance(effect, Apply) for effect in effects)
            return [*effects, Apply(())] if again else effects

    monkeypatch.setattr(stage, "VirtualKernel", Idle)
    with pytest.raises(InvariantError, match="events at one moment"):
        play(Stubborn)


@pytest.mark.parametrize(
    ("change", "message"),
    [({"text": " "}, "a switch without a reason"), ({"reason": Reason.ADOPTED}, "a switch that calls itself adopted")],
)
def test_a_switch_without_a_reason(change: dict[str, object], message: str) -> None:
    with pytest.raises(InvariantError, match=message):
        play(says(**change))


def restless(after_wake: bool, deadline: Callable[[float, float], float]) -> type[Engine]:
    """An engine that names a wrong deadline: of (the right one, now), after a wake or after an event."""

    class Restless(Engine):
        now = 0.0
        woken = False

        def handle(self, now: float, event: Event) -> list[Effect]:
            self.now, self.woken = now, False
            return super().handle(now, event)

        def wake(self, now: float) -> list[Effect]:
            self.now, self.woken = now, True
            return super().wake(now)

        def deadline(self) -> float:
            due = super().deadline()
            return deadline(due, self.now) if self.woken is after_wake else due

    return Restless


# fmt: off
DEADLINES: dict[str, tuple[Callable[[float, float], float], bool, str]] = {
    "back, after an event": (lambda _, now: now - 0.5, False, "the deadline lies 0.5 s back"),
    "nan, after an event": (lambda *_: math.nan, False, "the deadline lies nan s back"),
    "now, after a wake": (min, True, "woken, and the deadline still does not lie in the future"),
}
# fmt: on


@pytest.mark.parametrize(("deadline", "after_wake", "message"), DEADLINES.values(), ids=DEADLINES)
def test_a_deadline_that_is_not_ahead(
    deadline: Callable[[float, float], float], after_wake: bool, message: str
) -> None:
    with pytest.raises(InvariantError, match=message):
        play(restless(after_wake, deadline))


def test_the_story_ends_with_what_broke() -> None:
    with pytest.raises(InvariantError) as caught:
        play(impatient(detection=Detection(return_after=2.0)), DOUBT)
    story = caught.value.hint.splitlines()
    assert story[0] == "the last that happened:"
    assert len(story) == 121
    assert any("Notice" in line and "doubt" in line for line in story)
    assert "acquittal" in story[-1] or "Notice" in story[-1]
