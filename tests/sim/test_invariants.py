"""Every invariant caught in the act: a broken agent or a broken kernel is planted, and the run ends with its story."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import pytest

from failover.config import Config, Detection, Policy
from failover.core.engine import Engine, Event
from failover.model import (
    TABLE_MAIN,
    Apply,
    Effect,
    Family,
    KernelRead,
    Operation,
    OperationResult,
    Reason,
    Route,
    Rule,
    RuleAction,
    Sysctl,
    Verb,
)
from failover.picture import Snapshot
from failover.sim import stage
from failover.sim.invariants import InvariantError
from failover.sim.kernel import VirtualKernel
from failover.sim.script import Actor, Phase, Script, Suspend
from failover.sim.world import Brain

Dice = Callable[[], float]
OUTAGE = (Phase(until=20), Phase(until=26, changes={"loss": (1.0, 1.0)}))
DOUBT = (Phase(until=20), Phase(until=21.4, changes={"loss": (1.0, 1.0)}), Phase(until=25))


def play(brain: Callable[[Config, Dice], Brain] = Engine, phases: tuple[Phase, ...] = OUTAGE) -> None:
    script = Script("t", (Actor("au", phases=phases), Actor("docomo")), 400.0, acts=((300.0, Suspend(60.0)),))
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
    wall = Rule(Family.IPV4, 15585, action=RuleAction.UNREACHABLE)
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


def test_a_kernel_that_never_does_as_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    class Deaf(VirtualKernel):
        def replace_route(self, route: Route) -> str | None:
            return None

    class Stubborn(Meddler):
        """Repairs at once and for ever."""

        def meddle(self, event: Event, effects: list[Effect]) -> list[Effect]:
            again = isinstance(event, KernelRead) and not any(isinstance(effect, Apply) for effect in effects)
            return [*effects, Apply(())] if again else effects

    monkeypatch.setattr(stage, "VirtualKernel", Deaf)
    with pytest.raises(InvariantError, match="events at one moment"):
        play(Stubborn)


@pytest.mark.parametrize(
    ("change", "message"),
    [({"text": " "}, "a switch without a reason"), ({"reason": Reason.ADOPTED}, "a switch that calls itself adopted")],
)
def test_a_switch_without_a_reason(change: dict[str, object], message: str) -> None:
    class Mute(Engine):
        def snapshot(self) -> Snapshot:
            told = super().snapshot()
            decisions = {family: replace(one, **change) for family, one in told.decisions.items()}  # type: ignore[arg-type]
            return replace(told, decisions=decisions)

    with pytest.raises(InvariantError, match=message):
        play(Mute)


@pytest.mark.parametrize(
    ("deadline", "message"),
    [
        (min, "woken, and the deadline still does not lie in the future"),
        (lambda due, now: due - 5 if now > 1100 else due, "the deadline lies [0-9.]+ s back|still does not lie"),
        (lambda due, now: math.nan if now > 1100 else due, "the deadline lies nan s back|still does not lie"),
    ],
    ids=["now", "back", "nan"],
)
def test_a_deadline_that_is_not_ahead(deadline: Callable[[float, float], float], message: str) -> None:
    class Restless(Engine):
        now = 0.0

        def handle(self, now: float, event: Event) -> list[Effect]:
            self.now = now
            return super().handle(now, event)

        def wake(self, now: float) -> list[Effect]:
            self.now = now
            return super().wake(now)

        def deadline(self) -> float:
            return deadline(super().deadline(), self.now)

    with pytest.raises(InvariantError, match=message):
        play(Restless)


def test_the_story_ends_with_what_broke() -> None:
    with pytest.raises(InvariantError) as caught:
        play(impatient(detection=Detection(return_after=2.0)), DOUBT)
    story = caught.value.hint.splitlines()
    assert story[0] == "the last that happened:"
    assert len(story) == 121
    assert any("Notice" in line and "doubt" in line for line in story)
    assert "acquittal" in story[-1] or "Notice" in story[-1]
