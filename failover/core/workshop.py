"""One modem, whatever its SIM: when it is dialled, repaired, or given another SIM; one deed at a time.

Pure. The three have files of their own (`dialler.py`, `ladder.py`, `slots.py` and `changeover.py`); here is what they
are told of the modem and its uplinks, and who comes first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import inf
from typing import Final, NamedTuple

from failover.config import Uplink
from failover.config.modems import Dialer, Repair, Roaming, Rung
from failover.config.modems import Modem as Choice
from failover.core.changeover import UNABLE, Changeover
from failover.core.dialler import Dialler, dial
from failover.core.ladder import STUCK, Ladder, Need
from failover.core.lane import Lane
from failover.core.slots import Seat, Slots, Trouble
from failover.core.ties import Sight, name_of
from failover.core.uplinks import Bar, Tie
from failover.memory import ModemPast
from failover.model import RECEIVING, Notice, NoticeKind, Verdict
from failover.modem import Deed, Modem, ModemState, Registration
from failover.seam import ActOnModem, ModemActed

PATIENCE: Final = 180.0
"""Seconds after which a deed that nobody answered is forgotten; the adapter's own bounds are shorter."""
SHUT: Final = 21600.0
"""Seconds for which a SIM that may not be used, as was seen when it was chosen, is not chosen again."""
BOOT: Final = 60.0
"""Seconds that a modem has for its first connection before it is repaired."""
_DEEDS: Final = {
    Rung.RECONNECT: Deed.RECONNECT,
    Rung.REGISTER: Deed.REGISTER,
    Rung.RESET: Deed.RESET,
    Rung.POWER: Deed.POWER_CYCLE,
    Rung.SLOT: Deed.SELECT_SLOT,
}
_GENERATIONS: Final = {"gsm": 2, "gprs": 2, "edge": 2, "umts": 3, "hsdpa": 3, "hsupa": 3, "hspa": 3, "hspa-plus": 3}
"""Access technologies below LTE (MMModemAccessTechnology)."""
LTE: Final = 4
"""Generation; a modem that moves from 5G to LTE is not stuck."""
_ABROAD: Final = {
    Roaming.LAST: "which counts as metered and comes last",
    Roaming.ALLOW: "as the config allows",
    Roaming.DENY: "and the config denies that",
}


@dataclass(frozen=True, slots=True)
class Post:
    """One uplink of the modem."""

    uplink: Uplink
    choice: Choice
    sight: Sight
    tie: Tie
    lanes: Sequence[Lane]


@dataclass(frozen=True, slots=True)
class World:
    """What goes on besides."""

    repair: Repair
    others: bool
    """Another uplink carries traffic."""
    storm: bool
    """Another uplink on the same network is lost too."""
    use: str | None
    drained: frozenset[str]
    used: frozenset[str]
    """The uplinks by which any traffic goes."""


class Move(NamedTuple):
    """A change of SIM."""

    slot: int
    why: str
    fled: bool = False
    """Because of what is wrong with the one in use."""


class Workshop:
    """`due` says what to do now, `acted` hears what came of it. Times are monotonic seconds."""

    def __init__(
        self,
        now: float,
        key: str,
        random: Callable[[], float],
        past: ModemPast | None,
        pins: set[tuple[str, int, str]] | None = None,
    ) -> None:
        """`pins`: see Dialler; they outlive this one."""
        self.key = key
        self.deadline = inf
        past = past or ModemPast(key)
        self.obstacle = ""
        """Why nothing is done though it wants repair."""
        self.ladder = Ladder(random, [now - ago for ago in past.resets])
        self.slots = Slots(now, [now - ago for ago in past.switches], past.switch_seconds)
        self.change = Changeover()
        self.dialler = Dialler(random, pins)
        self._busy: ActOnModem | None = None
        self._busy_until = -inf
        self._shut: dict[int, tuple[Choice, str, float]] = {}
        """Slot -> why its SIM may not be used, by which config, and when that was seen."""
        self._unable: dict[Rung, float] = {}
        """What it cannot do, and until when that is believed."""
        self._best = 0
        """The newest generation that it was seen on."""
        self._since: float | None = None
        """Since when nothing passes."""
        self._stuck: float | None = None
        """Since when it sits on an older technology than it could, and is slow there, at least now and then."""
        self._trouble = Trouble()
        """Of the SIM in use: nothing passes, or much is lost, or it is stuck."""
        self._slow_at = -inf
        self._complaint = "", ""
        """Uplink, and what went wrong with what was done for it last, with the mend, until packets pass."""
        self._abroad: set[str] = set()
        """The uplinks that were told to roam."""

    def shut(self, now: float, choice: Choice) -> str:
        """Why that SIM may not be used, as it was seen last; empty: it may, as far as we know."""
        known, fault, seen = self._shut.get(choice.slot, (choice, "", now))
        return fault if known == choice and now < seen + SHUT else ""

    def complaint(self, name: str) -> str:
        """What went wrong with what was done for this uplink last, with the mend; empty: nothing, or it is over."""
        uplink, text = self._complaint
        return text if uplink == name else ""

    def overdue(self, now: float) -> bool:
        """Whether nothing passes though it has had its time."""
        return self._since is not None and now >= self._since

    # --- what is done ------------------------------------------------------------------------------------------------

    def due(self, now: float, posts: Sequence[Post], world: World) -> list[ActOnModem | Notice]:
        """What to do now, and what is to be said of it. `posts`: its uplinks, in order of preference."""
        self.ladder.rest()
        self.obstacle = ""
        self.deadline = self.slots.deadline = self.dialler.deadline = inf
        if self.change.late(now):
            self._since = now
        modem = next((post.sight.modem for post in posts if post.sight.listed), None)
        if modem is None:
            self.change.gone()
        here = next((post for post in posts if modem is None or post.choice.slot == modem.slot), None)
        said = [*self._look(now, here)] if here else []
        self._trouble.note(now, bad=here is not None and (self._stuck is not None or _little_passes(here)))
        if here and here.sight.listed and here.tie.bar is Bar.CLOSED:
            self._shut[here.choice.slot] = here.choice, here.tie.fault, now
        elif here and here.sight.listed and here.tie.bar is not Bar.COLD:
            self._shut.pop(here.choice.slot, None)
        if self._busy is not None and now < self._busy_until:
            self.deadline = self._busy_until
            return list(said)
        need = self._need(now, here, world) if here else None
        self.obstacle = _obstacle(need, here.choice, world) if here else ""
        done = [*said, *self._act(now, posts, here, modem, need, world)]
        soon = self._since if self._since is not None and self._since > now else inf
        others = self.ladder.deadline, self.slots.deadline, self.dialler.deadline
        self.deadline = min(soon, self.change.deadline(now), *others)
        return done

    def _act(
        self, now: float, posts: Sequence[Post], here: Post | None, modem: Modem | None, need: Need | None, world: World
    ) -> Iterator[ActOnModem | Notice]:
        seats = [self._seat(now, post, world) for post in posts]
        leaving = self.change.leaving({seat.slot for seat in seats} if modem else ())
        if modem is not None and leaving is not None:
            if self.change.left(now):
                yield from self._select(now, posts, modem, Move(leaving, _chosen(seats, modem.slot, leaving)))
            return
        if modem is not None and not self.change.still(now, modem.handle):
            move = self._move(now, seats, here, modem.slot, need, world)
            if move is not None and not move.fled and world.others:
                to = next(post for post in posts if post.choice.slot == move.slot)
                self.change.leave(now, to.uplink.name, move.slot, modem.handle)
                return
            if move is not None:
                yield from self._select(now, posts, modem, move)
                return
        at_it = here is not None and self.changes(now, here.uplink.name, here.sight)
        if here is None or here.choice.connect is Dialer.NONE or at_it:
            self.dialler.rest()
            return
        right = modem if here.tie.bar is not Bar.CLOSED else None
        lost = need is not None and not need.stuck and need.lost_at <= now
        unmissed, chosen = lost or here.uplink.name not in world.used, bool(self.change.chosen(now))
        deed = self.dialler.due(now, here.choice, right, urgent=chosen, spare=unmissed)
        if deed is not None and modem is not None:
            yield self._order(now, here, modem, deed)
            if deed is Deed.RECONNECT and not modem.foreign:
                yield _said(here, f"{here.uplink.name}: dialled anew, as the config says now")
            return
        doubted = min((lane.health.since for lane in here.lanes if lane.verdict is Verdict.DOUBTFUL), default=inf)
        if right is not None and right.bearer is not None and self.change.nudges(now, here.uplink.name, doubted):
            yield self._order(now, here, right, Deed.RECONNECT)
            yield _said(here, f"{here.uplink.name}: dialled anew: connected in vain")
            return
        able = self._able(now, here.sight, seats, world.repair)
        if need and need.stuck:
            able -= {Rung.RECONNECT}  # it helps nobody, and how slow it was would be forgotten with the path
        rung = self.ladder.climb(now, need, world.repair, able)
        if self.ladder.spent:
            spent = _spent(len(self.ladder.resets(now)), world.repair)
            self.obstacle = (self.dialler.trouble or here.tie.fault) if self.dialler.futile else spent
        if rung is not None:
            spare = self._spare(now, seats, modem, world.repair)
            yield from self._climb(now, rung, here, modem, posts, need, spare)

    def _climb(
        self,
        now: float,
        rung: Rung,
        here: Post,
        modem: Modem | None,
        posts: Sequence[Post],
        need: Need | None,
        spare: int | None,
    ) -> Iterator[ActOnModem | Notice]:
        why = "it sits on an older technology" if need and need.stuck else _why(here)
        if rung is Rung.SLOT and modem is not None and spare is not None:
            yield from self._select(now, posts, modem, Move(spare, why, fled=True))
            return
        yield self._order(now, here, modem, _DEEDS[rung])
        yield _said(here, f"{here.uplink.name}: {rung}: {why}", step=rung.value, reason=why)

    def changes(self, now: float, name: str, sight: Sight) -> bool:
        """Whether the modem of this uplink is about to change to another one's SIM, or at it."""
        return sight.modem is not None and self.change.away(now, name, sight.modem.handle)

    def _move(
        self, now: float, seats: Sequence[Seat], here: Post | None, slot: int, need: Need | None, world: World
    ) -> Move | None:
        """To another SIM than that in `slot`."""
        most = world.repair.switches_per_hour
        to = self.slots.change(now, seats, slot, need, most)
        if to is not None and need is not None and here is not None:
            return Move(to, here.tie.fault or "nothing passes", fled=True)
        if to is not None:
            return Move(to, _chosen(seats, slot, to))
        if here is None or world.others or not self._trouble.now or self._trouble.since is None:
            return None
        to = self.slots.better(now, seats, slot, self._trouble.since, most)
        return Move(to, _why(here), fled=True) if to is not None else None

    def _select(self, now: float, posts: Sequence[Post], modem: Modem, move: Move) -> Iterator[ActOnModem | Notice]:
        to = next(post for post in posts if post.choice.slot == move.slot)
        seats = [Seat(post.uplink.name, post.choice.slot) for post in posts]
        self.slots.chosen(now, modem.slot, move.slot, seats, fled=move.fled)
        self.change.begin(now, to.uplink.name, modem.handle, fled=move.fled)
        self._since = self._stuck = None
        self._trouble = Trouble()
        self.dialler.renew()
        self._busy = ActOnModem(to.uplink.name, modem.handle, Deed.SELECT_SLOT, slot=move.slot)
        self._busy_until = now + PATIENCE
        yield self._busy
        change = f"from slot {modem.slot} to slot {move.slot}, {to.uplink.name}"
        step = {"step": Rung.SLOT.value} if move.fled else {}
        text = f"{name_of(to.choice)} changes {change}: {move.why}"
        yield _said(to, text, **step, reason=move.why, slot=move.slot)

    def _order(self, now: float, here: Post, modem: Modem | None, deed: Deed) -> ActOnModem:
        pin = here.choice.pin if deed is Deed.UNLOCK else ""
        handle = modem.handle if modem else ""
        self._busy = ActOnModem(here.uplink.name, handle, deed, dial(here.choice), pin=pin)
        self._busy_until = now + PATIENCE
        return self._busy

    def acted(self, now: float, event: ModemActed, post: Post | None) -> list[Notice]:
        """What came of a deed; `post`: the uplink for which it was done, if that is still there."""
        order = event.order
        if order == self._busy:
            self._busy = None
            if order.deed is Deed.SELECT_SLOT:
                self.change.told(now, failed=bool(event.error), unable=event.unknown)
            elif order.deed in (Deed.CONNECT, Deed.RECONNECT) and not event.error:
                self.dialler.connected(order.dial)
        rung = next((rung for rung, deed in _DEEDS.items() if deed is order.deed), None)
        if event.unknown and rung is not None:
            self._unable[rung] = now + UNABLE
            self.ladder.forgive(rung)
        if post is None:
            return []
        self.dialler.acted(now, order.deed, post.choice, failed=bool(event.error))
        if not event.error:
            self._complaint = "", ""
            return []
        mend = f"; {event.hint}" if event.hint else ""
        text = f"{order.deed} failed: {event.error}{mend}"
        if self._complaint == (order.uplink, text) or (event.unknown and order.deed is Deed.POWER_CYCLE):
            return []
        self._complaint = order.uplink, text
        return [_said(post, f"{order.uplink}: {text}", step=str(order.deed), error=event.error)]

    # --- how it is ---------------------------------------------------------------------------------------------------

    def _look(self, now: float, here: Post) -> Iterator[Notice]:
        """Whether packets pass, and what that says of what was done; and in whose network."""
        modem = here.sight.modem
        yield from self._roamed(here)
        newest = _generation(modem) if modem else 0
        self._best = max(self._best, newest)
        if not _passes(here):
            return
        chosen = self.change.passed(here.uplink.name)
        self.slots.passed(now, chosen)
        self._since = None
        if self.complaint(here.uplink.name):
            self._complaint = "", ""
        if any(lane.verdict is Verdict.DEGRADED for lane in here.lanes):
            self._slow_at = now
        if 0 < newest < min(self._best, LTE) and now < self._slow_at + STUCK:
            self._stuck = now if self._stuck is None else self._stuck
            return
        self._stuck = None
        helped = self.ladder.passed(now)
        if chosen is not None:
            helped = Rung.SLOT if self.change.fled else None
        if helped is not None:
            fields = {"step": helped.value, "helped": True}
            yield _said(here, f"{here.uplink.name}: packets pass again after {helped}", **fields)

    def _roamed(self, here: Post) -> Iterator[Notice]:
        """A network's border is news: what is foreign may cost a hundred times as much."""
        modem, name = here.sight.modem, here.uplink.name
        if modem is None or not here.sight.listed or not modem.registration.serves:
            return
        abroad = modem.registration is Registration.ROAMING
        if abroad == (name in self._abroad):
            return
        self._abroad ^= {name}
        network = modem.operator_name or modem.operator_code or "a foreign network"
        what = f"roams in {network}, {_ABROAD[here.choice.roaming]}" if abroad else "roams no more"
        yield _said(here, f"{name}: it {what}", roaming=abroad, network=modem.operator_code)

    def _need(self, now: float, here: Post, world: World) -> Need | None:
        if self.change.chosen(now) or here.tie.bar in (Bar.CLOSED, Bar.COLD):
            return None
        if self._stuck is not None and self._slow_at == now:
            return Need(self._stuck, True, world.others, world.storm, stuck=True)
        verdicts = {lane.verdict for lane in here.lanes} - {Verdict.ABSENT, Verdict.COLD}
        if _passes(here) or Verdict.PORTAL in verdicts or Verdict.UNKNOWN in verdicts:
            return None
        if self._since is None:
            self._since = now if here.sight.dialed or verdicts else now + BOOT
        return Need(self._since, verdicts != {Verdict.DOUBTFUL}, world.others, world.storm)

    def _seat(self, now: float, post: Post, world: World) -> Seat:
        name = post.uplink.name
        barred = name in world.drained or bool(self.shut(now, post.choice)) or post.tie.bar is Bar.CLOSED
        return Seat(name, post.choice.slot, barred, wanted=name == world.use)

    def _able(self, now: float, sight: Sight, seats: Sequence[Seat], repair: Repair) -> set[Rung]:
        """The steps that there are for this modem, as it is. One that was never here is not to be found by its power,
        nor one of which nobody tells."""
        modem = sight.modem if sight.listed else None
        able = {Rung.SLOT} if self._spare(now, seats, modem, repair) is not None else set()
        if sight.missing:
            able |= {Rung.POWER}
        elif modem is not None and not self.dialler.futile:
            able |= {Rung.POWER, Rung.RESET}
            if modem.state >= ModemState.ENABLED:
                able |= {Rung.REGISTER}
            if modem.state >= ModemState.REGISTERED:
                able |= {Rung.RECONNECT}
        return {rung for rung in able if now >= self._unable.get(rung, -inf)}

    def _spare(self, now: float, seats: Sequence[Seat], modem: Modem | None, repair: Repair) -> int | None:
        if modem is None or self.change.still(now, modem.handle):
            return None
        return self.slots.spare(now, seats, modem.slot, repair.switches_per_hour)

    def past(self, now: float, sight: Sight | None) -> ModemPast:
        """What is to be remembered of it; `sight`: of the SIM in use."""
        modem = sight.modem if sight else None
        at = sight.interface if sight else ""
        done = self.ladder.resets(now), self.slots.switches(now), self.slots.cost
        return ModemPast(self.key, at, modem.slot if modem else 0, *done)


def _obstacle(need: Need | None, choice: Choice, world: World) -> str:
    """Why it is not repaired; empty: it is, or there is nothing to repair."""
    if need is None:
        return ""
    if choice.connect is Dialer.NONE:
        return "the config leaves it alone (connect: none)"
    if need.begins < inf:
        return ""
    return "another uplink on its network is lost too" if world.storm else "it is the only link that carries traffic"


def _spent(resets: int, repair: Repair) -> str:
    if not repair.steps:
        return "the config names no steps of repair"
    return f"no step is left that it may take now, after {resets} of {repair.resets_per_day} resets in 24 h"


def _chosen(seats: Sequence[Seat], before: int, slot: int) -> str:
    """Why the SIM in `slot` is chosen, though nothing is wrong with the one in use."""
    by_slot = {seat.slot: seat for seat in seats}
    if by_slot[slot].wanted:
        return "the operator's choice"
    if before not in by_slot:
        return f"no uplink is by the SIM in slot {before}"
    if by_slot[before].barred:
        return f"the SIM in slot {before} is not to be used"
    return "it comes first, and is tried again"


def _passes(post: Post) -> bool:
    return any(lane.verdict in RECEIVING for lane in post.lanes)


def _little_passes(post: Post) -> bool:
    """Nothing, or much is lost."""
    return all(lane.health.record.lossy for lane in post.lanes if lane.verdict in RECEIVING)


def _why(post: Post) -> str:
    """Why it is to be repaired, in the words of its verdict."""
    worst = next((lane for lane in post.lanes if lane.verdict not in (Verdict.ABSENT, Verdict.COLD)), None)
    return worst.health.text if worst else post.tie.fault or "it has no address"


def _generation(modem: Modem) -> int:
    """Of the network that serves it: 2 to 5; 0: none."""
    return max((5 if one == "5gnr" else _GENERATIONS.get(one, 4) for one in modem.technologies), default=0)


def _said(post: Post, text: str, **fields: object) -> Notice:
    carrier = post.uplink.carrier or post.tie.carrier
    return Notice(NoticeKind.MODEM, text, {"uplink": post.uplink.name, "carrier": carrier, **fields})
