"""The modems of the uplinks: what their manager tells, what that makes of the uplinks, and what is done to them.

Pure. What a modem says is a hint that raises the rate of probes, never a verdict; what of it is certain stands in
`ties.py`, and what is done to each in `workshop.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from math import inf
from typing import Final

from failover.config import Config, Uplink
from failover.config.modems import Modem as Choice
from failover.config.modems import Repair
from failover.core.fate import networks
from failover.core.lane import Lane
from failover.core.policy import Will
from failover.core.ties import Sight, choices, looked, meant, name_of, roams, tie
from failover.core.uplinks import Bar, Tie
from failover.core.verdicts import WAYLESS
from failover.core.workshop import Post, Workshop, World
from failover.memory import ModemPast
from failover.model import RECEIVING, Family, Notice
from failover.modem import Modem, Signal
from failover.picture import ModemView
from failover.seam import ActOnModem, ModemActed, ModemsTold

WEAKER: Final = 10.0
"""dB that a signal may lose before that is worth a probe: the edge of a cell, the mouth of a tunnel."""

Lanes = Mapping[Family, Sequence[Lane]]


class Modems:
    """`told` what their manager tells, `acted` what came of a deed, `due` what is to be done; `ties` is what is made of
    it all. Times are monotonic seconds."""

    def __init__(self, random: Callable[[], float], past: Iterable[ModemPast] = ()) -> None:
        self.ties: dict[str, Tie] = {}
        """By uplink."""
        self.warnings: tuple[str, ...] = ()
        self._random = random
        self._past: dict[str, tuple[ModemPast, float | None]] = {one.modem: (one, None) for one in past}
        """By what the config knew a modem by, and when it was taken; None: just now."""
        self._pins: set[tuple[str, int, str]] = set()
        """What was tried, by modem and slot, and was not seen to be right."""
        self._sights: dict[str, Sight] = {}
        """By uplink."""
        self._places: dict[str, tuple[str, int]] = {}
        """By uplink: what the config knows its modem by, and the slot."""
        self._shops: dict[str, Workshop] = {}
        """By what the config knows a modem by."""
        self._home: dict[str, float] = {}
        """By uplink that roamed: since when it does no more; inf: it does."""
        self._settling = inf
        """When the next of these counts as at home."""
        self._told = ModemsTold(managed=False)

    def told(self, now: float, event: ModemsTold, config: Config) -> tuple[set[str], bool]:
        """Take in what the manager tells; returns the uplinks of which it says something that is worth a probe, and
        whether it says more than how well cells are heard."""
        before, known, self._told = self._sights, self._told, event
        self.follow(now, config)
        worse = {name for name, sight in self._sights.items() if name in before and _worse(before[name], sight)}
        return worse, _ground(known) != _ground(event)

    def follow(self, now: float, config: Config) -> None:
        """This config holds: the ties are made anew."""
        known, shops = self._sights, self._shops
        places, self._places = self._places, {}
        self._sights, self._shops, self.ties = {}, {}, {}
        self._home = {name: at for name, at in self._home.items() if name in places}
        self._settling = inf
        claims = _Claims(config)
        for shop in shops.values():
            shop.change.follow([uplink.name for uplink in config.uplinks])
        for uplink, choice in choices(config.uplinks):
            past = self._remembered(now, choice.key)
            shop = shops.get(choice.key) or Workshop(now, choice.key, self._random, past, self._pins)
            shops[choice.key] = self._shops[choice.key] = shop
            same = places.get(uplink.name) == (choice.key, choice.slot)
            sight = known[uplink.name] if same else Sight(interface=_where(past, choice.slot))
            sight = looked(sight, self._told, choice)
            self._sights[uplink.name], self._places[uplink.name] = sight, (choice.key, choice.slot)
            abroad = self._abroad(now, uplink.name, sight, config.policy.failback_after)
            found = _tie(now, uplink, choice, sight, shop, abroad=abroad)
            fault = claims.refused(uplink.name, choice.key, sight, found.interface)
            self.ties[uplink.name] = Tie(bar=Bar.CLOSED, fault=fault, settings=()) if fault else found
        for key, shop in shops.items():
            if key not in self._shops:  # its limits hold on when the config names it again
                self._past[key] = shop.past(now, None), now

    def due(
        self, now: float, lanes: Lanes, will: Will, used: frozenset[str], config: Config
    ) -> list[ActOnModem | Notice]:
        """What is to be done now, and said. `used`: the uplinks by which any traffic goes."""
        done: list[ActOnModem | Notice] = []
        self.warnings = ()
        if not self._shops:
            return done
        posts, rides = self._posts(lanes, config), networks(config, self.ties)
        for key, shop in self._shops.items():
            mine = [post for post in posts if post.choice.key == key]
            done += shop.due(now, mine, self._world(mine, lanes, will, used, config.repair, rides))
        ground = lanes, will, used, config
        troubles = [(post, self._trouble(now, post) or self._outdated(post, *ground)) for post in posts]
        self.warnings = tuple(f"{post.uplink.name}: {trouble}" for post, trouble in troubles if trouble)
        return done

    def acted(self, now: float, event: ModemActed, lanes: Lanes, config: Config) -> list[Notice]:
        """What came of a deed."""
        post = next((p for p in self._posts(lanes, config) if p.uplink.name == event.order.uplink), None)
        shops = [self._shops[post.choice.key]] if post else list(self._shops.values())
        return [said for shop in shops for said in shop.acted(now, event, post)]

    @property
    def deadline(self) -> float:
        """When to look again, whatever else happens; inf: not before news."""
        return min([self._settling, *(shop.deadline for shop in self._shops.values())])

    def view(self, config: Config) -> dict[str, ModemView]:
        """What there is to see of each, by uplink."""
        known = choices(config.uplinks)
        return {uplink.name: self._view(uplink.name, choice) for uplink, choice in known if uplink.name in self._sights}

    def past(self, now: float) -> tuple[ModemPast, ...]:
        """What is to be remembered of each; of those that the config names no more, what was remembered before."""
        warm = {name: sight for name, sight in self._sights.items() if self.ties[name].bar is not Bar.COLD}
        seen = {self._places[name][0]: sight for name, sight in warm.items()}
        known = {key: shop.past(now, seen.get(key)) for key, shop in self._shops.items()}
        rest = (self._remembered(now, key) for key in self._past if key not in known)
        return (*known.values(), *(one for one in rest if one))

    # --- inside ------------------------------------------------------------------------------------------------------

    def _abroad(self, now: float, name: str, sight: Sight, settles: float) -> bool:
        """Whether it roams, or did `settles` seconds ago: at a border nobody is to be moved with each cell."""
        if roams(sight):
            self._home[name] = inf
        elif self._home.get(name) == inf and sight.modem and sight.modem.registration.serves:
            self._home[name] = now
        until = self._home.get(name, -inf) + settles
        if now < until:
            self._settling = min(self._settling, until)
        return now < until

    def _remembered(self, now: float, key: str) -> ModemPast | None:
        if key not in self._past:
            return None
        past, taken = self._past[key]
        taken = now if taken is None else taken
        self._past[key] = past, taken
        return past.older(now - taken)

    def _posts(self, lanes: Lanes, config: Config) -> list[Post]:
        by_name: dict[str, list[Lane]] = {}
        for lane in (lane for rivals in lanes.values() for lane in rivals):
            by_name.setdefault(lane.uplink.name, []).append(lane)
        return [
            Post(uplink, choice, self._sights[uplink.name], self.ties[uplink.name], by_name[uplink.name])
            for uplink, choice in choices(config.uplinks)
            if uplink.name in by_name and uplink.name in self.ties
        ]

    def _world(
        self,
        posts: Sequence[Post],
        lanes: Lanes,
        will: Will,
        used: frozenset[str],
        repair: Repair,
        rides: Mapping[str, str],
    ) -> World:
        """`rides`: the networks of uplinks, as far as they are known."""
        mine = {post.uplink.name for post in posts}
        rest = [lane for rivals in lanes.values() for lane in rivals if lane.uplink.name not in mine]
        carrying = {lane.uplink.name for lane in rest if lane.verdict in RECEIVING}
        ill = {lane.uplink.name for lane in rest if lane.verdict not in WAYLESS or self._fell(lane.uplink.name)}
        lost = ill - carrying
        here = {rides.get(post.uplink.name) for post in posts if post.tie.bar is not Bar.COLD} - {"", None}
        storm = any(rides.get(name) in here for name in lost)
        return World(repair, bool(carrying), storm, will.use, will.drained, used)

    def _fell(self, name: str) -> bool:
        """Its modem is there, and is not connected any more."""
        sight = self._sights.get(name)
        return bool(sight and sight.listed and sight.dialed and sight.modem and not sight.modem.bearer)

    def _trouble(self, now: float, post: Post) -> str:
        shop = self._shops[post.choice.key]
        if len(meant(post.choice, self._told.modems)) > 1:
            return f"there are several modems with {name_of(post.choice)}: name its 'device'"
        if post.tie.bar is Bar.COLD and shop.change.chosen(now) != post.uplink.name:
            return shop.shut(now, post.choice) or shop.complaint(post.uplink.name)
        if post.tie.bar is Bar.CLOSED:
            return post.tie.fault
        if post.sight.modem is None and self._told.managed and shop.overdue(now):
            return f"there is no modem with {name_of(post.choice)}: `failover modems` lists those that are there"
        return shop.dialler.trouble or shop.complaint(post.uplink.name)

    def _outdated(self, post: Post, lanes: Lanes, will: Will, used: frozenset[str], config: Config) -> str:
        """What of the config is not in force yet, and what has the uplink dialled anew."""
        name, modem, keys = post.uplink.name, post.sight.modem, self._shops[post.choice.key].dialler.outdated
        if not keys or modem is None or post.tie.bar is Bar.COLD:
            return ""
        carries = name in used
        other, number = _instead(post, lanes, will, config) if carries else "", modem.handle.rpartition("/")[2]
        way = f"failover use {other} --for 1m" if other else f"mmcli -m {number} --simple-disconnect"
        places = ", ".join(f"uplinks.{name}.modem.{key}" for key in keys)
        count = f"{places} {'count' if len(keys) > 1 else 'counts'} from its next connection"
        return f"{'it carries traffic, and ' if carries else ''}{count}: `{way}` has it dialled anew"

    def _view(self, name: str, choice: Choice) -> ModemView:
        sight, shop, bound = self._sights[name], self._shops[choice.key], self.ties[name]
        ladder, change = shop.ladder, shop.slots.deadline
        bare = ModemView(
            choice.slot,
            sight.modem,
            listed=sight.listed,
            resets=ladder.reset_times,
            switch_seconds=shop.slots.cost,
        )
        if bound.bar is Bar.COLD:  # what is done to it is for the SIM in use
            return bare
        return replace(
            bare,
            step=ladder.last.value if ladder.last else "",
            step_next=ladder.next.value if ladder.next else "",
            step_due=ladder.deadline if ladder.next else None,
            obstacle=shop.obstacle,
            refused=bound.fault if bound.bar is Bar.CLOSED else "",
            slot_due=change if change < inf else None,
        )


def _instead(post: Post, lanes: Lanes, will: Will, config: Config) -> str:
    """What the operator may use for a moment to have all traffic leave this uplink and its modem; empty: nothing can
    take it, or a rule may hold some of it there, whatever is used."""
    rest = [one.name for one in config.uplinks if not one.modem or one.modem.key != post.choice.key]
    rivals = [lanes[lane.family] for lane in post.lanes if lane.verdict in RECEIVING]
    able = [{lane.uplink.name for lane in listed if lane.verdict in RECEIVING} for listed in rivals]
    fit = (name for name in rest if able and all(name in names for names in able) and name not in will.drained)
    return "" if config.rules else next(fit, "")


def _where(past: ModemPast | None, slot: int) -> str:
    """The interface of a modem of which nobody has told yet."""
    return past.interface if past and past.slot in (0, slot) else ""


class _Claims:
    """Whose each modem and each interface is: one's only, and his who comes first in the config."""

    def __init__(self, config: Config) -> None:
        others = {one.interface: f"{one.name}'s: name it once" for one in config.uplinks if not one.modem}
        whose = others | dict.fromkeys(config.lan, "one of the LAN") | {"lo": "the machine's own"}
        self._interfaces = {interface: ("", words) for interface, words in whose.items()}
        self._modems: dict[str, tuple[str, str]] = {}
        """By handle. Each is known by its modem's key, and the words for whose it is."""

    def refused(self, name: str, key: str, sight: Sight, interface: str) -> str:
        """Why this uplink may not have its modem, or that interface; empty: it has both."""
        if sight.listed and sight.modem is not None:
            owner, whose = self._modems.setdefault(sight.modem.handle, (key, f"that of {name}"))
            if owner != key:
                return f"its modem is {whose}, named otherwise there: name both in the same way"
        owner, whose = self._interfaces.setdefault(interface, (key, f"{name}'s"))
        return f"its modem claims {interface}, which is {whose}" if interface and owner != key else ""


def _tie(now: float, uplink: Uplink, choice: Choice, sight: Sight, shop: Workshop, *, abroad: bool) -> Tie:
    chosen = shop.change.chosen(now)
    carries = sight.listed and sight.modem is not None and sight.modem.bearer is not None
    if shop.changes(now, uplink.name, sight) and (shop.change.empty or not carries):
        return Tie(bar=Bar.COLD, fault=f"its modem changes to {chosen}", settings=None if carries else ())
    dials = shop.dialler.serves(now, choice, sight.modem)
    found = tie(uplink, choice, sight, warming=chosen == uplink.name, dials=dials, abroad=abroad)
    shut = shop.shut(now, choice) if found.bar is Bar.COLD else ""
    return replace(found, fault=shut) if shut else found


def _worse(before: Sight, now: Sight) -> bool:
    """Whether what it tells is worth a probe."""
    then, this = before.modem, now.modem
    if then is None or this is None or (then is this and before == now):
        return False
    weaker = None not in (then.signal.rsrp, this.signal.rsrp) and _lost(then, this) >= WEAKER
    left = then.registration.serves and not this.registration.serves
    moved = (then.operator_code, then.technologies) != (this.operator_code, this.technologies)
    detached = then.attached is True and this.attached is False
    return before.listed > now.listed or left or moved or detached or weaker or then.state > this.state


def _lost(then: Modem, this: Modem) -> float:
    """dB."""
    return (then.signal.rsrp or 0.0) - (this.signal.rsrp or 0.0)


def _ground(told: ModemsTold) -> object:
    """All that matters to more than the eye."""
    bare = [
        replace(m, signal=Signal(), bearers=tuple(replace(b, received_bytes=None, sent_bytes=None) for b in m.bearers))
        for m in told.modems
    ]
    return told.managed, bare
