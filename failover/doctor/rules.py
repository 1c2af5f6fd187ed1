"""Checks of the policy rules of others: before ours, where they keep traffic from us; among ours; after ours."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from failover.core.plan import TABLE_DEFAULT, conflicts, crowded, deafening, goto_target, intruder
from failover.doctor.case import Ground
from failover.doctor.finding import Remark, Remarks, failure, note, warning
from failover.doctor.rivals import is_mwan3
from failover.facts import PREFS_OWNED, TABLE_MAIN, Rule, RuleAction

LATER: Final = f"give it a pref from {PREFS_OWNED.stop} to 32765: there it keeps its say, by a copy among ours"
REFUSALS: Final = (RuleAction.BLACKHOLE, RuleAction.UNREACHABLE, RuleAction.PROHIBIT)


def before(ground: Ground) -> Remarks:
    """Rules that are asked first, and what becomes of the packets that they match."""
    for text in deafening(ground.uplinks, ground.facts):
        yield failure(text, LATER)
    served = ground.served
    for rule in ground.facts.rules:
        if rule.family in served and rule.priority < PREFS_OWNED.start and not is_mwan3(rule):
            yield from _judged(rule, ground)


def _judged(rule: Rule, ground: Ground) -> Remarks:
    """Nothing of a rule that only knows special destinations, as the kernel's own for local addresses does."""
    name = f"{rule.family} rule {rule.priority}"
    if rule.action in REFUSALS and _everything(rule):
        yield failure(f"{name} refuses every packet before any rule of ours is asked", LATER)
    elif rule.action is RuleAction.LOOKUP and _leads_away(rule, ground):
        yield _diverting(rule, f"{name} looks up table {_table(rule.table)}")
    elif rule.action is RuleAction.GOTO and (goto_target(rule) or 0) > PREFS_OWNED.start:
        text = f"{name} jumps over ours to {goto_target(rule)}"
        yield failure(text, LATER) if _everything(replace(rule, extra=())) else warning(text, LATER)


def _leads_away(rule: Rule, ground: Ground) -> bool:
    """Whether it can send a packet to the internet: by a default that is there and not suppressed."""
    return rule.suppress_prefix_length is None and (rule.family, rule.table) in ground.tables


def _diverting(rule: Rule, what: str) -> Remark:
    if _everything(rule):
        mend = "delete it: rule 32766 says the same" if rule.table == TABLE_MAIN else LATER
        return failure(f"{what} for every packet: no rule of ours is ever asked", mend)
    if rule.invert and rule.fwmark:
        return note(f"{what} for all but one mark, as a full tunnel does; the tunnel's own packets come to ours")
    stays = "stays on main's first default, however dead that is" if rule.table == TABLE_MAIN else "does not fail over"
    return warning(f"{what} before ours is asked: what it matches {stays}", LATER)


def _everything(rule: Rule) -> bool:
    """Whether it matches every packet, or every new flow of the box."""
    bare = Rule(rule.family, rule.priority, rule.action, rule.table, protocol=rule.protocol)
    plain = replace(rule, fwmark=None, fwmask=None) if rule.fwmask == 0 else rule
    return plain in (bare, replace(bare, iif="lo"))


def _table(number: int) -> str:
    return {TABLE_MAIN: "main", TABLE_DEFAULT: "default"}.get(number, str(number))


def among(ground: Ground) -> Remarks:
    """What others put into our tables and prefs."""
    for item in conflicts(ground.facts):
        where = f"out of {PREFS_OWNED.start}-{PREFS_OWNED.stop - 1}"
        yield failure(intruder(item), f"move it {where}: that pref, that table is failover's")


def after(ground: Ground) -> Remarks:
    """More than there are places for."""
    for text in crowded(ground.served, ground.facts):
        yield warning(text, "join some of them")
