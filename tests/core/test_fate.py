"""Two brands are not two carriers: what uplinks share is found, and a standby that shares it comes after the others."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import inf
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from failover.config import Config, Reconfigured, Uplink
from failover.config.modems import Modem as Choice
from failover.core.candidate import Candidate
from failover.core.fate import OUTLIVED, bound
from failover.core.policy import Situation, Will, decide, next_due, ruling
from failover.core.uplinks import Tie
from failover.model import Decision, NoticeKind, Reason, Verdict
from failover.modem import Registration, Sim
from failover.seam import ModemsTold

from .box import PINGS, Box, dead, told
from .garage import Garage, Unit, deeds, imei, of_modem
from .seer import Seer
from .test_policy import candidate
from .test_walk import LINKS, Walk
from .worlds import V4, V6, uplink, way

NOW = 1000.0
HUB = "/sys/devices/pci0000:00/0000:00:14.0/usb1/1-1"


# --- what is shared --------------------------------------------------------------------------------------------------


def shared(config: Config, ties: Mapping[str, Tie] | None = None, **paths: Any) -> dict[str, list[str]]:
    """By uplink, what it shares with whom; `paths`: routes and addresses of each uplink."""
    uplinks = [uplink(u.name, n, *paths.get(u.name, ((), ()))[0], addresses=paths.get(u.name, ((), ()))[1], slot=n)
               for n, u in enumerate(config.uplinks)]  # fmt: skip
    return {
        one.name: [f"{fate.other} {fate.why}: {fate.what}" for fate in one.fate]
        for one in bound(uplinks, config, ties or {})
    }


def named(networks: Mapping[str, str] | None = None, **carriers: str) -> Config:
    return Config(uplinks=tuple(Uplink(n, n, carrier=c) for n, c in carriers.items()), networks=networks or {})


def test_a_brand_rides_on_its_host() -> None:
    found = shared(named(a="au", b="povo", c="docomo", d="UQ mobile", e=""))
    assert found["a"] == ["b network: the network au", "d network: the network au"]
    assert found["b"] == ["a network: the network au", "d network: the network au"]
    assert found["c"] == found["e"] == []


def test_what_nobody_knows_is_no_network_that_two_share() -> None:
    assert shared(named(a="mineo", b="mineo", c="", d="")) == {name: [] for name in "abcd"}


def test_the_config_knows_more_brands() -> None:
    found = shared(named({"mineo": "docomo"}, a="mineo", b="ahamo"))
    assert found["a"] == ["b network: the network docomo"]


def test_what_the_modem_tells_comes_before_the_label() -> None:
    config = named(a="mineo", b="docomo", c="mineo")
    ties = {"a": Tie(plmn="44051"), "c": Tie(plmn="44010")}
    assert shared(config, ties) == {
        "a": [],
        "b": ["c network: the network docomo"],
        "c": ["b network: the network docomo"],
    }


def modems(*devices: str, same: bool = False) -> tuple[Config, dict[str, Tie]]:
    names = "abcd"[: len(devices)]
    numbers = [imei(1 if same else n) for n in range(len(devices))]
    config = Config(uplinks=tuple(Uplink(n, modem=Choice(imei=i)) for n, i in zip(names, numbers, strict=True)))
    return config, {n: Tie(modem=i, device=d) for n, i, d in zip(names, numbers, devices, strict=True)}


@pytest.mark.parametrize(
    ("one", "other", "hub"),
    [
        (f"{HUB}/1-1.2", f"{HUB}/1-1.3", "1-1"),
        (f"{HUB}/1-1.2", f"{HUB}/1-1.4/1-1.4.1", "1-1"),
        (f"{HUB}/1-1.4/1-1.4.2", f"{HUB}/1-1.4/1-1.4.1", "1-1.4"),
        (f"{HUB}", f"{HUB[:-3]}1-2", ""),  # both at the root hub
        (f"{HUB}/1-1.2", f"{HUB[:-3]}1-2/1-2.2", ""),
        (f"{HUB}/1-1.2", HUB.replace("usb1/1-1", "usb2/2-1") + "/2-1.2", ""),
        ("/sys/devices/pci0000:00/0000:02:00.0/mhi0", "/sys/devices/pci0000:00/0000:03:00.0/mhi0", ""),
        ("/sys/devices/pci0000:00/0000:02:00.0", "/sys/devices/pci0000:00/0000:02:00.0", ""),
        (HUB, HUB, ""),  # no hub
        (f"{HUB}/1-1.2", "", ""),
        ("", "", ""),
    ],
)
def test_a_hub_is_shared_by_what_is_plugged_in_below_it(one: str, other: str, hub: str) -> None:
    found = shared(*modems(one, other))
    assert found["a"] == ([f"b hub: the USB hub {hub}"] if hub else [])


def test_two_slots_are_one_modem() -> None:
    config, ties = modems(f"{HUB}/1-1.2", f"{HUB}/1-1.2", same=True)
    assert shared(config, ties)["a"] == ["b modem: a modem"]
    assert shared(config)["a"] == ["b modem: a modem"], "before it was told"


def test_a_copied_imei_makes_no_modem_of_two() -> None:
    assert shared(*modems(f"{HUB}/1-1.2", f"{HUB}/1-1.3", same=True))["a"] == ["b hub: the USB hub 1-1"]


GLOBAL, OTHER = "2a02:26f7:1::5", "2a02:26f7:2::5"
HOPS = {
    "a public router is one": (("61.205.1.1", "61.205.1.20"), ("61.205.1.1", "61.205.1.21"), "61.205.1.1"),
    "a private one may be two": (("192.168.1.1", "192.168.1.20"), ("192.168.1.1", "192.168.1.21"), ""),
    "so may a carrier's": (("100.64.0.1", "100.64.0.20"), ("100.64.0.1", "100.64.0.21"), ""),
    "a link-local one in one public network is one": (("fe80::1", GLOBAL), ("fe80::1", GLOBAL + "1"), "fe80::1"),
    "in two networks it may be two": (("fe80::1", GLOBAL), ("fe80::1", OTHER), ""),
    "in a private network too": (("fe80::1", "fd00::5"), ("fe80::1", "fd00::6"), ""),
    "another one is another": (("fe80::1", GLOBAL), ("fe80::2", GLOBAL + "1"), ""),
    "no router is none": ((None, GLOBAL), (None, GLOBAL + "1"), ""),
}


@pytest.mark.parametrize(("one", "other", "hop"), HOPS.values(), ids=HOPS)
def test_next_hops(one: tuple[str | None, str], other: tuple[str | None, str], hop: str) -> None:
    def of(index: int, gateway: str | None, address: str) -> tuple[Sequence[object], Sequence[str]]:
        return [way(index, V6 if ":" in address else V4, gateway)], [address]

    found = shared(named(a="", b=""), a=of(0, *one), b=of(1, *other))
    assert found["a"] == ([f"b next-hop: the next hop {hop}"] if hop else [])


# --- what policy makes of it -----------------------------------------------------------------------------------------


def listed(text: str, *kin: str, ailed: Mapping[str, float] | None = None) -> list[Candidate]:
    """As in test_policy.py; those of `kin`, as `ab`, share a fate. What is ill fell ill 5 s ago unless told."""
    found = []
    for rank, (name, words) in enumerate(part.strip().split(": ") for part in text.split(",")):
        fate = {other: "the network au" for both in kin if name in both for other in both if other != name}
        one = replace(candidate(name, words, rank), fate=fate)
        ill = NOW - 5 if one.verdict in (Verdict.DOUBTFUL, Verdict.DOWN) else -inf
        found.append(replace(one, ailed=(ailed or {}).get(name, ill)))
    return found


def decided(text: str, ways: str, *kin: str, will: Will | None = None, **more: Any) -> str:
    active, settled = ways.split("/")
    current = Decision(V4, active, settled, reason=Reason.ADOPTED)
    then = decide(NOW, current, listed(text, *kin, **more), will or Will(), moves_flows=False)
    return f"{then.active}/{then.settled} {then.reason}"


# fmt: off
RULES = {
    "a doubt leads past who shares it": ("a: doubtful, b: up, c: up", "a/a", "c/a doubt"),
    "a conviction too": ("a: down, b: up, c: up", "a/a", "c/c conviction"),
    "if there is no other, there": ("a: doubtful, b: up", "a/a", "b/a doubt"),
    "rather there than to one that is worse": ("a: down, b: up, c: degraded", "a/a", "b/b conviction"),
    "rather there than to one that was convicted": ("a: down, b: up, c: up held", "a/a", "b/b conviction"),
    "rather there than to an unproven one": ("a: doubtful, b: up, c: up unproven", "a/a", "b/a doubt"),
    "no return there meanwhile": ("a: down, b: up, c: up", "c/c", "c/c adopted"),
    "nor while it rests": ("a: up resting, b: up, c: up", "c/c", "c/c adopted"),
    "it is not left for that": ("a: down, b: up, c: up", "b/b", "b/b adopted"),
    "what is absent has its own reasons": ("a: absent, b: up, c: up", "a/a", "b/b absent"),
    "so has what is behind a portal": ("a: portal, b: up, c: up", "a/a", "b/b portal"),
}
# fmt: on


@pytest.mark.parametrize(("text", "ways", "expected"), RULES.values(), ids=RULES)
def test_rules(text: str, ways: str, expected: str) -> None:
    rested = {"a": NOW - 1} if "resting" in text else None
    assert decided(text, ways, "ab", ailed=rested) == expected
    assert decided(text, ways, "bc", ailed=rested) == decided(text, ways, ailed=rested), "those two are not in trouble"


def test_what_is_outlived_is_no_shadow_any_more() -> None:
    ailed = {"a": NOW - OUTLIVED}
    assert decided("a: down, b: up, c: up", "a/a", "ab", ailed=ailed) == "b/b conviction"
    assert decided("a: up held, b: up, c: up", "c/c", "ab", ailed={"a": NOW - OUTLIVED + 1}) == "c/c adopted"
    current = Decision(V4, "c", "c", reason=Reason.CONVICTION, since=NOW - OUTLIVED)
    found = listed("a: down, b: up, c: up", "ab", ailed=ailed)
    found[1] = replace(found[1], returns=Reason.CONFIG)
    then = decide(NOW, current, found, Will(), moves_flows=True)
    assert (then.active, then.settled, then.reason) == ("b", "c", Reason.ACQUITTAL)
    assert then.text == "b has outlived the trouble of a, with which it shares the network au"


def test_a_return_falls_due_when_it_is_outlived() -> None:
    current = Decision(V4, "c", "c")
    found = listed("a: down, b: up, c: up", "ab")
    assert next_due(NOW, current, found, Will()) == NOW - 5 + OUTLIVED
    assert next_due(NOW, current, listed("a: down, b: up, c: up"), Will()) == inf


def test_the_operators_use_casts_no_look_at_fate() -> None:
    assert decided("a: down, b: up, c: up", "a/a", "ab", will=Will(use="b")) == "b/b operator"


def test_a_foreign_network_stays_last() -> None:
    found = listed("a: down, b: up, c: up", "ab")
    found[2] = replace(found[2], foreign=True)
    then = decide(NOW, Decision(V4, "a", "a"), found, Will(), moves_flows=False)
    assert then.active == "b"


def test_the_switch_says_whom_it_passed_over() -> None:
    found = listed("a: down, b: up, c: up", "ab")
    then = decide(NOW, Decision(V4, "a", "a"), found, Will(), moves_flows=False)
    assert then.text.endswith("; b shares the network au with a, which is down")
    unkin = decide(NOW, Decision(V4, "a", "a"), listed("a: down, b: up, c: up"), Will(), moves_flows=False)
    assert "shares" not in unkin.text


VERDICTS = st.sampled_from(
    ("up", "up held", "up unproven", "degraded", "doubtful", "down", "unknown", "absent", "portal")
)


@given(st.lists(VERDICTS, min_size=2, max_size=5), st.data())
def test_fate_changes_the_order_of_equals_alone(verdicts: list[str], data: st.DataObject) -> None:
    """Whatever is shared: where traffic goes is of the same verdict as without, nothing stays that would not have
    stayed but a return, and who decides is the same rule or that nothing returns yet."""
    names = "abcde"[: len(verdicts)]
    text = ", ".join(f"{name}: {words}" for name, words in zip(names, verdicts, strict=True))
    kin = data.draw(st.lists(st.sampled_from([x + y for x in names for y in names if x < y]), max_size=4))
    active = data.draw(st.sampled_from(names))
    current = Decision(V4, active, active, reason=Reason.CONFIG)
    with_fate, without = (Situation(NOW, current, listed(text, *some), Will(), moves_flows=False) for some in (kin, ()))
    (rule, there), (plain, here) = ruling(with_fate), ruling(without)
    verdict = {c.name: c.verdict for c in with_fate.listed}
    if rule == plain and here.to is not None and there.to is not None:
        assert verdict[here.to] is verdict[there.to]
    else:
        assert (rule, plain) in {("stay", "return"), (plain, plain)}
    assert [verdict[c.name] for c in with_fate.ways] == [verdict[c.name] for c in without.ways]


# --- the whole box ---------------------------------------------------------------------------------------------------


def van(**fields: Any) -> Box:
    carriers = {"a": "au", "b": "povo", "c": "docomo"}
    config = Config(uplinks=tuple(Uplink(n, n, carrier=c) for n, c in carriers.items()), targets=PINGS)
    return Box(*carriers, config=config, **fields).run(100.0)


def test_a_blackout_of_the_first_one_leads_past_its_brand_and_back() -> None:
    box = van()
    box.weather["a"] = dead(100.0, 130.0)
    box.run(400.0)
    assert [said.split(" ")[1] for said in box.switches(100.0)][:1] == ["a>c(a)"]
    assert "b shares the network au with a, which is doubtful" in told(box, 100.0, NoticeKind.SWITCH)[0]
    assert box.active() == "a", box.switches(100.0)
    assert not [said for said in box.switches(100.0) if ">b" in said], "a came back before b had outlived its trouble"


def test_a_long_blackout_is_outlived_by_its_brand() -> None:
    box = van()
    box.weather["a"] = dead(100.0)
    box.run(400.0)
    ways = [said.split(" ")[1] for said in box.switches(100.0)]
    assert ways == ["a>c(a)", "c>c(c)", "c>b(c)"]
    at = float(box.switches(100.0)[2].split(" ")[0])
    convicted = float(box.switches(100.0)[1].split(" ")[0])
    assert at - convicted == pytest.approx(OUTLIVED, abs=1.0)
    assert "b has outlived the trouble of a" in told(box, 100.0, NoticeKind.SWITCH)[2]


def test_what_comes_is_foretold() -> None:
    box = van()
    box.weather["a"] = dead(100.0)
    (before,) = (one for one in box.engine.explain(box.now) if one.family is V4)
    assert any("go to c when a is silent" in prospect.text for prospect in before.prospects)
    box.run(110.0)
    (one,) = (one for one in box.engine.explain(box.now) if one.family is V4)
    (b,) = (c for c in one.candidates if c.name == "b")
    assert b.objection == "shares the network au with a, which is down"
    foretold = [prospect for prospect in one.prospects if prospect.after_seconds is not None]
    assert [p.text for p in foretold] == [
        "new flows go back to b when b has outlived the trouble of a, whose fate it shares"
    ]
    box.run(box.now + (foretold[0].after_seconds or 0) - 0.1)
    assert box.active() == "c"
    box.run(box.now + 0.2)
    assert box.active() == "b"


def test_modems_tell_what_they_ride_on() -> None:
    """Three modems, by what they tell alone: two SIMs of one network, of which one is not registered yet."""
    au, povo = Unit(imei(1), "wwan0", sims={1: ("44051", "KDDI")}), Unit(imei(2), "wwan1", sims={1: ("44050", "povo")})
    docomo = Unit(imei(3), "wwan2", sims={1: ("44010", "NTT DOCOMO")})
    uplinks = (of_modem("au", 1), of_modem("povo", 2), of_modem("docomo", 3))
    box = Garage(au, povo, docomo, uplinks=uplinks)
    box.set(povo, registration=Registration.SEARCHING)
    box.run(100.0)
    views = {view.name: [(one.other, str(one.why)) for one in view.fate] for view in box.engine.snapshot().uplinks}
    assert views == {"au": [("povo", "network")], "povo": [("au", "network")], "docomo": []}
    box.drop(au)
    box.run(100.001)
    assert box.switches(100.0) == ["100 au>docomo(docomo) link-down"]


def test_a_sim_that_is_not_used_is_known_by_its_own_operator() -> None:
    """What serves the modem says nothing of the other slot."""
    unit = Unit(imei(1), "wwan0", sims={1: ("44051", "KDDI"), 2: ("44010", "NTT DOCOMO")})
    box = Garage(unit, uplinks=(of_modem("au", slot=1), of_modem("docomo", slot=2)))
    slots = (Sim(), Sim(operator_code="44051"))
    for told_slots, expected in (((Sim(), Sim()), ["modem"]), (slots, ["network", "modem"])):
        box.tell(ModemsTold((replace(unit.modem, slots=told_slots),)))
        box.run(box.now + 1.0)
        assert [str(one.why) for one in box.engine.snapshot().uplinks[0].fate] == expected


def test_a_dead_router_of_the_same_network_makes_it_a_storm_too() -> None:
    """It tells no code; its label is enough. Nothing is reset that cannot be mended here."""
    unit = Unit(imei(1), "wwan0", sims={1: ("44051", "KDDI")})
    for carrier, mended in (("UQ mobile", False), ("docomo", True)):
        box = Garage(unit, uplinks=(of_modem("au", 1),), others=("eth0", "eth1"))
        named = tuple(replace(u, carrier=carrier) if u.name == "eth0" else u for u in box.engine.config.uplinks)
        box.tell(Reconfigured(replace(box.engine.config, uplinks=named)))
        box.weather |= dict.fromkeys(("au", "eth0"), dead(100.0))
        box.run(400.0)
        assert bool(deeds(box, 100.0)) is mended, carrier


KIN = tuple(
    Config(targets=PINGS, uplinks=tuple(Uplink(n, n, carrier=c) for n, c in zip(order, carriers, strict=True)))
    for order in ("abc", "cab")
    for carriers in (("au", "povo", "docomo"), ("au", "docomo", "povo"), ("au", "povo", "UQ"))
)


class Drive(Walk):
    """A random walk of uplinks that share fates: now one is silent, now another; the engine is a Seer."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed, Seer)
        self.deeds = [*5 * [self.fall_silent], *9 * [self.answer], self.restart]
        self.reconfigure()
        self.box.run(100.0)

    def reconfigure(self) -> None:
        self.box.tell(Reconfigured(self.dice.choice(KIN)))

    def fall_silent(self) -> None:
        self.answer()
        self.moods[self.dice.choice(LINKS)] = lambda _: None

    def answer(self) -> None:
        self.moods = dict.fromkeys(LINKS, self.fair)


@pytest.mark.parametrize("seed", [2, 9, 11])
def test_whatever_happens_all_that_time_brings_was_foretold(seed: int) -> None:
    drive = Drive(seed)
    drive.go(150)
    said = " ".join(notice.text for _, notice in drive.box.notices)
    assert re.search("shares the network au with|has outlived the trouble of", said)
