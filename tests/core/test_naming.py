"""Which name servers the box is to ask: those of the uplink in use, and public ones where its own have died."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest

from failover.config import Config, Metered, Names, Reconfigured, Uplink
from failover.core.naming import PROBED
from failover.model import FAMILIES, Command, Drain, Family, NoticeKind, ProbeKind, Target, Use, Verdict
from failover.resolvers import Resolvers, Way
from failover.seam import NamesTold

from .box import NAMES, PINGS, RTT, Box, Fate, Weather, dead, told

V4, V6 = FAMILIES
OWN = {"a": ("10.1.0.53", "10.1.0.54"), "b": ("10.2.0.53",)}
PUBLIC = ("9.9.9.9", "2620:fe::fe")
CONFIG = Config(targets=(*PINGS, NAMES), dns=Names(servers=PUBLIC))


def without(*hosts: str, start: float = 0.0, end: float = 1e9) -> Weather:
    """These do not answer from `start` to `end`; all else does."""

    def weather(now: float, target: Target) -> Fate:
        return None if target.host in hosts and start <= now < end else RTT

    return weather


def box_with(config: Config = CONFIG, **weather: Weather) -> Box:
    box = Box("a", "b", config=config)
    box.servers = dict(OWN)
    box.weather |= weather
    return box


def wished(box: Box) -> dict[str, Resolvers]:
    """The last wish, by interface."""
    return {one.interface: one for one in box.wished[-1][1].wanted}


def servers(box: Box, name: str) -> tuple[str, ...]:
    return wished(box)[name].servers


def in_use(box: Box) -> list[str]:
    return [name for name, one in wished(box).items() if one.families]


def at(box: Box, what: str) -> float:
    """When a wish first led names there."""
    return next(when for when, wish in box.wished if any(one.interface == what and one.families for one in wish.wanted))


def test_each_link_has_its_own_and_names_are_asked_where_new_flows_go() -> None:
    box = box_with().run(50)
    assert wished(box) == {"a": Resolvers("a", OWN["a"], (V4,)), "b": Resolvers("b", OWN["b"])}
    views = {view.name: view.name_servers for view in box.engine.snapshot().uplinks}
    assert views == OWN


def test_a_doubt_takes_them_along_in_the_same_moment_and_ends_what_is_asked_there() -> None:
    box = box_with(a=dead(100, 200)).run(150)
    moment = next(when for when, notice in box.notices if notice.kind is NoticeKind.SWITCH)
    assert at(box, "b") == moment
    assert (in_use(box), wished(box)["a"].lost, wished(box)["b"].lost) == (["b"], True, False)
    assert servers(box, "a") == OWN["a"], "that it is silent tells nothing of its servers"
    assert box.run(400).active() == "a"
    assert in_use(box) == ["a"]


@pytest.mark.parametrize("command", [Drain("a"), Use("b")], ids=["drain", "use"])
def test_what_is_left_in_good_health_answers_what_it_was_asked(command: Command) -> None:
    box = box_with().run(50)
    box.ask(command)
    assert (in_use(box.run(60)), wished(box)["a"].lost) == (["b"], False)


def test_a_family_of_its_own_is_told_apart() -> None:
    box = Box("a", "b", config=Config(targets=(*PINGS, NAMES)), families=FAMILIES)
    box.servers = {"a": ("10.1.0.53", "2001:db8:1::53"), "b": ("10.2.0.53", "fe80::53")}
    box.run(20).lose_default("a", V6)
    box.run(30)
    assert {name: one.families for name, one in wished(box).items()} == {"a": (V4,), "b": (V6,)}


def test_its_own_servers_are_probed_and_one_that_died_is_left_out() -> None:
    box = box_with(a=without("10.1.0.53", start=100)).run(160)
    assert {send.target.url for _, send in box.sent if send.target.host in OWN["a"]} == {
        f"dns://{host}/example.com" for host in OWN["a"]
    }
    assert servers(box, "a") == ("10.1.0.54",)
    assert box.switches() == []
    (text,) = box.engine.snapshot().warnings
    assert text == "a: name servers 10.1.0.53 of its own do not answer: 10.1.0.54 asked instead"


def test_where_all_of_them_died_public_ones_are_asked_over_it_until_one_answers_again() -> None:
    box = box_with(a=without(*OWN["a"], start=100, end=300)).run(160)
    assert (servers(box, "a"), servers(box, "b"), in_use(box)) == (PUBLIC, OWN["b"], ["a"])
    assert (box.switches(), box.verdict("a")) == ([], Verdict.UP)
    warned = [text for text in told(box, 0, NoticeKind.WARNING) if "of its own do not answer" in text]
    assert warned[-1].endswith("10.1.0.53, 10.1.0.54 of its own do not answer: 9.9.9.9, 2620:fe::fe asked instead")
    assert len(warned) <= 2, "one for each that died, at most"
    box.run(400)
    assert (servers(box, "a"), box.engine.snapshot().warnings) == (OWN["a"], ())
    assert told(box, 300, NoticeKind.UPLINK) == ["a: its own name servers answer again"]


def test_without_public_ones_nothing_is_made_up() -> None:
    box = box_with(replace(CONFIG, dns=Names()), a=without(*OWN["a"], start=100)).run(160)
    assert servers(box, "a") == OWN["a"]
    assert box.engine.snapshot().warnings[0].endswith("name public ones in dns.servers of the config")


def test_a_blackout_says_nothing_of_name_servers() -> None:
    box = box_with(a=dead(100, 400), b=dead(100, 400)).run(500)
    assert [text for text in told(box, 0, NoticeKind.WARNING) if "of its own" in text] == []
    assert (servers(box, "a"), servers(box, "b")) == (OWN["a"], OWN["b"])


def test_one_lost_question_is_asked_again_and_changes_nothing() -> None:
    box = box_with(a=without("10.1.0.53", start=100, end=140)).run(101)
    asked = [when for when, send in box.run(200).sent if send.target.host == "10.1.0.53" and when >= 100]
    assert min(after - before for before, after in pairwise(asked)) < 4.2
    first = next(when for when, send in box.sent if send.target.host == "10.1.0.53" and when >= 100)
    box = box_with(a=without("10.1.0.53", start=100, end=first + 0.1)).run(200)
    assert [when for when, wish in box.wished if Resolvers("a", OWN["a"], (V4,)) not in wish.wanted] == []


def test_the_config_s_word_on_an_uplink_s_servers_comes_first() -> None:
    named = (Uplink("au", "a", dns=("10.9.0.53",)), Uplink("docomo", "b", dns=()))
    box = box_with(replace(CONFIG, uplinks=named)).run(50)
    assert (servers(box, "a"), servers(box, "b")) == (("10.9.0.53",), PUBLIC)
    assert {send.target.host for _, send in box.sent if send.target.kind is ProbeKind.DNS} == {"10.9.0.53", NAMES.host}


def test_what_nobody_knows_is_left_to_whoever_does() -> None:
    box = box_with(replace(CONFIG, dns=Names()))
    box.servers = {}
    assert servers(box.run(50), "a") == ()


def test_a_metered_uplink_has_fewer_of_them_probed() -> None:
    named = (Uplink("a", "a", metered=Metered()), Uplink("b", "b"))
    box = box_with(replace(CONFIG, uplinks=named))
    box.servers = {"a": ("10.1.0.1", "10.1.0.2", "10.1.0.3"), "b": ("10.2.0.1", "10.2.0.2", "10.2.0.3")}
    box.run(300)
    asked = {name: {s.target.host for _, s in box.sent if s.uplink == name} for name in "ab"}
    assert [len([host for host in asked[name] if host.startswith("10.")]) for name in "ab"] == [1, PROBED]
    assert servers(box, "a") == box.servers["a"]


def test_the_one_that_was_probed_has_died_and_the_others_are_not_known() -> None:
    named = (Uplink("a", "a", metered=Metered()), Uplink("b", "b"))
    box = box_with(replace(CONFIG, uplinks=named), a=without("10.1.0.53", start=100)).run(1500)
    assert servers(box, "a") == ("10.1.0.54", *PUBLIC)


def test_a_server_of_one_link_alone_is_not_probed() -> None:
    box = box_with()
    box.servers = {"a": ("fe80::53", "2001:db8:1::53"), "b": ()}
    box.run(50)
    assert servers(box, "a") == box.servers["a"]
    assert "fe80::53" not in {send.target.host for _, send in box.sent}


def test_networks_are_asked_again_when_something_changes_and_every_minute() -> None:
    box = box_with().run(50)
    box.servers = {**OWN, "a": ("10.1.0.99",)}
    box.run(120)
    assert servers(box, "a") == ("10.1.0.99",)
    box.at(130, lambda: box.change("a", carrier=False))
    box.at(131, lambda: box.change("a", carrier=True))
    box.at(131.5, lambda: box.servers.update(a=("10.1.0.77",)) if box.servers is not None else None)
    assert servers(box.run(133.1), "a") == ("10.1.0.77",), "a lease's address is there before its servers"


def test_what_somebody_else_may_have_undone_is_wished_again() -> None:
    box = box_with().run(40)
    before = len(box.wished)
    assert len(box.run(300).wished) > before
    assert len({wish for _, wish in box.wished[1:]}) == 1


def test_none_leaves_everything_alone() -> None:
    box = box_with(replace(CONFIG, dns=Names(Way.NONE, PUBLIC))).run(100)
    assert (box.wished, {send.target.host for _, send in box.sent} & {*OWN["a"], *OWN["b"]}) == ([], set())


def test_a_reload_to_none_ends_it_and_one_back_begins_it() -> None:
    box = box_with().run(50)
    box.tell(Reconfigured(replace(CONFIG, dns=Names(Way.NONE))))
    count = len(box.run(60).wished)
    assert len(box.run(200).wished) == count
    assert [view.name_servers for view in box.engine.snapshot().uplinks] == [(), ()]
    box.tell(Reconfigured(CONFIG))
    assert len(box.run(210).wished) > count


def test_where_nobody_follows_nothing_is_probed_besides() -> None:
    box = box_with().run(50)
    box.tell(NamesTold({}))
    box.servers = None
    since = box.now
    box.run(200)
    assert {send.target.host for when, send in box.sent if when > since + 1} & {*OWN["a"], *OWN["b"]} == set()


def test_without_any_way_out_names_stay_as_they_are() -> None:
    box = box_with().run(50)
    for name in ("a", "b"):
        box.change(name, up=False)
    count = len(box.run(50.01).wished)
    assert len(box.run(200).wished) == count
    assert Family.IPV4 in wished(box)[in_use(box)[0]].families
