"""A config that comes while the agent runs and names what was discovered: traffic stays where it is."""

from __future__ import annotations

from dataclasses import replace

from failover.config import Config, Reconfigured, Uplink
from failover.core.engine import Engine
from failover.facts import Address, Facts, Link, Operation, Route, Rule
from failover.model import Drain, Family, Notice, NoticeKind, Use
from failover.seam import Apply, KernelRead

from .box import QUICK, Box

V4 = Family.IPV4


def main_default(index: int, metric: int) -> Route:
    return Route(V4, 254, metric, interface=index, gateway=f"10.{index}.1.1", protocol=16)


def carried_out(facts: Facts, operations: tuple[Operation, ...]) -> Facts:
    """All of them are additions here."""
    items = [operation.item for operation in operations]
    routes = tuple(item for item in items if isinstance(item, Route))
    rules = tuple(item for item in items if isinstance(item, Rule))
    return replace(facts, routes=facts.routes + routes, rules=facts.rules + rules)


def test_a_new_name_for_the_same_interface_keeps_the_decision_the_slot_and_the_history() -> None:
    facts = Facts(
        links=(Link(2, "wwan0", True, True), Link(3, "wwan1", True, True)),
        addresses=(Address(2, V4, "10.2.1.2", 24), Address(3, V4, "10.3.1.2", 24)),
        routes=(main_default(2, 200), main_default(3, 100)),
    )
    engine = Engine(Config(), lambda: 0.5)
    for effect in engine.handle(0.0, KernelRead(facts)):
        if isinstance(effect, Apply):
            engine.handle(0.0, KernelRead(carried_out(facts, effect.operations)))
    before = {uplink.interface: uplink for uplink in engine.snapshot().uplinks}
    config = Config(uplinks=(Uplink("au", "wwan0"), Uplink("docomo", "wwan1")))
    effects = engine.handle(0.1, Reconfigured(config))
    assert not [e for e in effects if isinstance(e, Notice) and e.kind is NoticeKind.SWITCH]
    decision = engine.snapshot().decisions[V4]
    assert (decision.active, decision.settled) == ("docomo", "docomo")
    for uplink in engine.snapshot().uplinks:
        was = before[uplink.interface]
        assert uplink.slot == was.slot
        assert uplink.families[V4].since == was.families[V4].since


def test_what_the_operator_said_of_it_holds_under_its_new_name() -> None:
    box = Box("wwan0", "wwan1").run(10)
    box.ask(Use("wwan1", 7200.0, strict=False))
    box.ask(Drain("wwan0", force=False))
    named = replace(QUICK, uplinks=(Uplink("au", "wwan0"), Uplink("docomo", "wwan1")))
    box.tell(Reconfigured(named))
    box.run(200)
    snapshot = box.engine.snapshot()
    assert [(view.name, view.drained) for view in snapshot.uplinks] == [("au", True), ("docomo", False)]
    assert (snapshot.use, box.active()) == ("docomo", "docomo")
