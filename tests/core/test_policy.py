"""Each rule of the policy as a table of situations: who is how, who carries what, what the operator said."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from math import inf
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from failover.core import policy
from failover.core.candidate import Candidate
from failover.core.policy import Situation, Will, decide, next_due, ruling
from failover.core.verdicts import WAYLESS
from failover.model import Decision, Family, Reason, Verdict

V, R = Verdict, Reason
V4 = Family.IPV4
NOW = 1000.0
LOST = (V.DOWN, V.ABSENT, V.PORTAL, V.COLD)
WORDS: Mapping[str, Verdict] = {v.value: v for v in Verdict}
CAUSES = {V.PORTAL: R.PORTAL, V.ABSENT: R.ABSENT, V.COLD: R.ABSENT}


def candidate(name: str, words: str, preference: int) -> Candidate:
    """`up`, or with flaws: `up unproven`, `up held` (10 s to go, after a conviction), `up resting` (after a doubt)."""
    verdict, *flaws = words.split()
    held = verdict != "up" or "held" in flaws or "resting" in flaws
    return Candidate(
        name=name,
        preference=preference,
        verdict=WORDS[verdict],
        text=f"is {verdict}",
        due=(NOW + 10 if verdict == "up" else inf) if held else NOW - 1,
        proven="unproven" not in flaws,
        heard_ago=0.5,
        numbers=lambda: {"silence_seconds": 0.0 if verdict == "up" else 1.0},
        returns=R.FAILBACK if "held" in flaws or verdict in ("down", "portal", "absent") else R.ACQUITTAL,
        cause=CAUSES.get(WORDS[verdict], R.CONVICTION),
    )


def situation(text: str) -> list[Candidate]:
    """`a: up, b: down` in order of preference."""
    parts = [part.split(":") for part in text.split(",")]
    return [candidate(name.strip(), words.strip(), rank) for rank, (name, words) in enumerate(parts)]


def decided(text: str, ways: str, will: Will | None = None, *, moves_flows: bool = False) -> Decision:
    """`ways`: active/settled before, `-` for none."""
    active, settled = (None if name == "-" else name for name in ways.split("/"))
    current = Decision(V4, active, settled, reason=R.ADOPTED)
    return decide(NOW, current, situation(text), will or Will(), moves_flows=moves_flows)


# fmt: off
RULES = {
    # doubt
    "doubt moves new flows alone to a proven standby": ("a: doubtful, b: up", "a/a", "b/a doubt"),
    "not to an unproven one": ("a: doubtful, b: up unproven", "a/a", "a/a"),
    "but to a proven one behind it": ("a: doubtful, b: up unproven, c: up", "a/a", "c/a doubt"),
    "to the preferred of the proven": ("a: doubtful, b: up, c: up", "a/a", "b/a doubt"),
    "to one in its hold-down if there is no other": ("a: doubtful, b: up held", "a/a", "b/a doubt"),
    "rather to one that is not": ("a: doubtful, b: up held, c: up", "a/a", "c/a doubt"),
    "not to one that is unknown": ("a: doubtful, b: unknown", "a/a", "a/a"),
    "to one that is degraded if there is no other": ("a: doubtful, b: degraded", "a/a", "b/a doubt"),
    "all silent: nothing": ("a: doubtful, b: doubtful, c: doubtful", "a/a", "a/a"),
    "all silent in a divert: nothing": ("a: doubtful, b: doubtful", "b/a", "b/a"),
    "the standby's doubt is nobody's business": ("a: up, b: doubtful", "a/a", "a/a"),
    # conviction
    "conviction moves the rest as well": ("a: down, b: up", "b/a", "b/b conviction"),
    "and new flows if they are still there": ("a: down, b: up", "a/a", "b/b conviction"),
    "to an unproven one too": ("a: down, b: up unproven", "a/a", "b/b conviction"),
    "to an unknown one": ("a: down, b: unknown", "a/a", "b/b conviction"),
    "to a doubtful one": ("a: down, b: doubtful", "a/a", "b/b conviction"),
    "to a portal only from what is dead": ("a: down, b: portal", "a/a", "b/b conviction"),
    "not from dead to dead": ("a: down, b: down", "a/a", "a/a"),
    "to the least bad one": ("a: down, b: doubtful, c: degraded, d: unknown", "a/a", "c/c conviction"),
    "the rest is lost alone": ("a: up, b: down", "a/b", "a/a conviction"),
    "both are lost": ("a: up, b: down, c: absent", "b/c", "a/a conviction"),
    # portal
    "a portal is left": ("a: portal, b: up", "a/a", "b/b portal"),
    "for the unknown too": ("a: portal, b: unknown", "a/a", "b/b portal"),
    "but not for silence": ("a: portal, b: doubtful", "a/a", "a/a"),
    "nor for another portal": ("a: portal, b: portal", "a/a", "a/a"),
    # degraded
    "a brownout moves new flows alone": ("a: degraded, b: up", "a/a", "b/a degraded"),
    "not to another brownout": ("a: degraded, b: degraded", "a/a", "a/a"),
    "not to one that was convicted lately": ("a: degraded, b: up held", "a/a", "a/a"),
    "rather to the one behind": ("a: degraded, b: up held, c: up", "a/a", "c/a degraded"),
    "to one that rests after a doubt": ("a: degraded, b: up resting", "a/a", "b/a degraded"),
    "not to an unproven one: brownout": ("a: degraded, b: up unproven", "a/a", "a/a"),
    # absent
    "no way any more": ("a: absent, b: up", "a/a", "b/b absent"),
    "for the least bad one": ("a: absent, b: down, c: portal", "a/a", "c/c absent"),
    "for a dead one, if there is nothing else": ("a: absent, b: down", "a/a", "b/b absent"),
    "none has a way": ("a: absent, b: absent", "a/a", "-/- absent"),
    "none had one": ("a: absent, b: absent", "-/-", "-/-"),
    "the first way of all": ("a: unknown, b: absent", "-/-", "a/a first"),
    "the best of the first": ("a: doubtful, b: unknown, c: unknown", "-/-", "b/b first"),
    "the rest's way is gone": ("a: up, b: absent", "a/b", "a/a absent"),
    "the rest had none": ("a: up", "a/-", "a/a first"),
    "the config took it away": ("b: up, c: up", "a/a", "b/b config"),
    "the config took the rest's": ("a: up, b: up", "a/z", "a/a config"),
    # unknown
    "the unknown is not left": ("a: unknown, b: up", "a/a", "a/a"),
    "not even by the way back": ("a: up, b: unknown", "b/b", "b/b"),
    # back
    "back to the preferred one": ("a: up, b: up", "b/a", "a/a acquittal"),
    "the rest stays where it is": ("a: up, b: up", "b/b", "a/b acquittal"),
    "not within the hold-down": ("a: up held, b: up", "b/b", "b/b"),
    "nor soon after a doubt": ("a: up resting, b: up", "b/a", "b/a"),
    "only to who is up": ("a: degraded, b: up", "b/b", "b/b"),
    "to the most preferred that may": ("a: up held, b: up, c: up", "c/c", "b/c acquittal"),
    "from the doubtful at once": ("a: up held, b: doubtful", "b/b", "a/b doubt"),
    "from the dead at once": ("a: up held, b: down", "b/b", "a/a conviction"),
    "rather to one that was not doubted lately": ("a: up resting, b: down, c: up", "b/b", "c/c conviction"),
    "never away from the preferred": ("a: up, b: up", "a/a", "a/a"),
}
USE = {
    "use moves all": ("a: up, b: up", "a/a", Will(use="b"), "b/b operator"),
    "the rest as well, where new flows are already": ("a: up, b: up", "b/a", Will(use="b"), "b/b operator"),
    "to the unknown": ("a: up, b: unknown", "a/a", Will(use="b"), "b/b operator"),
    "a doubt does not divert it": ("a: doubtful, b: up", "a/a", Will(use="a"), "a/a"),
    "it yields to a conviction": ("a: up, b: down", "b/b", Will(use="b"), "a/a conviction"),
    "and to a portal": ("a: up, b: portal", "b/b", Will(use="b"), "a/a portal"),
    "and to absence": ("a: up, b: absent", "b/b", Will(use="b"), "a/a absent"),
    "and to the hold-down after": ("a: up, b: up held", "a/a", Will(use="b"), "a/a"),
    "not to the one after a doubt": ("a: up, b: up resting", "a/a", Will(use="b"), "b/b operator"),
    "driven there all the same, all goes there": ("a: down, b: up, c: up held", "a/b", Will(use="c"), "b/b conviction"),
    "driven there as nothing else is up": ("a: down, b: degraded, c: up held", "a/b", Will(use="c"), "c/c conviction"),
    "the rest follows to where it owes": ("a: up, b: up held", "b/a", Will(use="b"), "b/b operator"),
    "the rest comes for it, not for its own loss": ("a: up, b: down", "a/b", Will(use="a"), "a/a operator"),
    "strictly it yields to nothing": ("a: up, b: down", "a/a", Will(use="b", strict=True), "b/b operator"),
    "but to absence": ("a: up, b: absent", "b/b", Will(use="b", strict=True), "a/a absent"),
    "one that is not there": ("a: up, b: up", "b/b", Will(use="z"), "a/b acquittal"),
    "it is preferred when it may be again": ("a: up, b: up", "a/a", Will(use="b"), "b/b operator"),
}
DRAINED = {
    "drain moves all": ("a: up, b: up", "a/a", "a", "b/b drain"),
    "to the degraded": ("a: up, b: degraded", "a/a", "a", "b/b drain"),
    "not to the unknown, as it works": ("a: up, b: unknown", "a/a", "a", "a/a"),
    "nor to the drained": ("a: up, b: up", "a/a", "ab", "a/a"),
    "the rest alone": ("a: up, b: up", "a/b", "b", "a/a drain"),
    "the rest, not to the drained": ("a: up, b: up", "a/b", "ab", "a/b"),
    "the rest, not to who is silent": ("a: doubtful, b: up", "a/b", "b", "a/b"),
    "it is no standby for a doubt": ("a: doubtful, b: up", "a/a", "b", "a/a"),
    "nor for a brownout": ("a: degraded, b: up", "a/a", "b", "a/a"),
    "it is one in need": ("a: down, b: up", "a/a", "b", "b/b conviction"),
    "before a portal": ("a: down, b: up, c: portal", "a/a", "b", "b/b conviction"),
    "after the doubtful": ("a: down, b: up, c: doubtful", "a/a", "b", "c/c conviction"),
    "nobody returns to it": ("a: up, b: up", "b/b", "a", "b/b"),
    "from it all return": ("a: up held, b: up", "b/b", "b", "a/a drain"),
}
# fmt: on


# fmt: off
NAMED = {
    "no-route": ("a: absent", "a/a", Will()),
    "use": ("a: up, b: up", "a/a", Will(use="b")),
    "vacant": ("a: absent, b: up", "a/a", Will()),
    "lost": ("a: down, b: down", "a/a", Will()),
    "drained": ("a: up, b: up", "a/a", Will(drained=frozenset("a"))),
    "doubt": ("a: doubtful, b: unknown", "a/a", Will()),
    "degraded": ("a: degraded, b: up", "a/a", Will()),
    "unknown": ("a: unknown, b: up", "a/a", Will()),
    "return": ("a: up, b: up", "b/b", Will()),
    "stay": ("a: up held, b: up", "b/b", Will()),
}
# fmt: on


@pytest.mark.parametrize("name", NAMED)
def test_each_rule_speaks_under_its_name(name: str) -> None:
    text, ways, will = NAMED[name]
    active, settled = ways.split("/")
    rule, said = ruling(Situation(NOW, Decision(V4, active, settled), situation(text), will, moves_flows=False))
    assert rule == name
    assert said.text
    assert decided(text, ways, will).active == said.to


def test_the_rules_are_those_of_the_readme_in_their_order() -> None:
    readme = (Path(policy.__file__).parent / "README.md").read_text()
    assert re.findall(r"^\d+\. `([a-z-]+)`: ", readme, re.MULTILINE) == list(policy.RULES) == list(NAMED)


def check(decision: Decision, before: str, want: str) -> None:
    ways, _, reason = want.partition(" ")
    assert f"{decision.active or '-'}/{decision.settled or '-'}" == ways
    if before == ways:
        assert (decision.reason, decision.text, decision.at) == (R.ADOPTED, "", 0.0), "nothing moved, nothing said"
    else:
        assert decision.reason == reason
        assert decision.text
        assert decision.at == NOW


@pytest.mark.parametrize(("text", "ways", "want"), RULES.values(), ids=RULES)
def test_rules(text: str, ways: str, want: str) -> None:
    check(decided(text, ways), ways, want)


@pytest.mark.parametrize(("text", "ways", "will", "want"), USE.values(), ids=USE)
def test_use(text: str, ways: str, will: Will, want: str) -> None:
    check(decided(text, ways, will), ways, want)


@pytest.mark.parametrize(("text", "ways", "drained", "want"), DRAINED.values(), ids=DRAINED)
def test_drain(text: str, ways: str, drained: str, want: str) -> None:
    check(decided(text, ways, Will(drained=frozenset(drained))), ways, want)


def test_failback_takes_open_flows_along_only_if_told() -> None:
    owed = [replace(c, returns=R.FAILBACK) for c in situation("a: up, b: up")]
    current = Decision(V4, "b", "b")
    stays = decide(NOW, current, owed, Will(), moves_flows=False)
    moves = decide(NOW, current, owed, Will(), moves_flows=True)
    assert (stays.active, stays.settled, stays.reason) == ("a", "b", R.FAILBACK)
    assert (moves.active, moves.settled, moves.reason) == ("a", "a", R.FAILBACK)


@pytest.mark.parametrize(("use", "reason", "settled"), [(None, R.OPERATOR, "a"), ("c", R.ACQUITTAL, "b")])
def test_what_use_had_moved_comes_back_when_use_is_over(use: str | None, reason: Reason, settled: str) -> None:
    used = Decision(V4, "b", "b", reason=R.OPERATOR)
    then = decide(NOW, used, situation("a: up, b: up"), Will(use=use), moves_flows=False)
    assert (then.active, then.settled, then.reason) == ("a", settled, reason)


def test_a_return_that_a_drain_was_in_no_way_of_is_not_the_operators() -> None:
    used = Decision(V4, "c", "c", reason=R.DRAIN)
    then = decide(NOW, used, situation("a: up, b: up, c: up"), Will(drained=frozenset("b")), moves_flows=False)
    assert (then.active, then.settled, then.reason) == ("a", "c", R.ACQUITTAL)


@pytest.mark.parametrize(("will", "reason"), [(Will(), R.FAILBACK), (Will(use="a"), R.OPERATOR)])
def test_a_hold_down_is_over_at_its_end(will: Will, reason: Reason) -> None:
    owing = [replace(c, returns=R.FAILBACK, due=NOW) for c in situation("a: up, b: up")]
    current = Decision(V4, "b", "b")
    assert decide(NOW - 0.001, current, owing, will, moves_flows=False).active == "b"
    then = decide(NOW, current, owing, will, moves_flows=False)
    assert (then.active, then.reason) == ("a", reason)


def test_an_acquittal_leaves_them_in_any_case() -> None:
    assert decided("a: up, b: up", "b/b", moves_flows=True).settled == "b"


def test_the_order_is_the_kernels_own_fallback_best_first() -> None:
    text = "a: down, b: portal, c: doubtful, d: unknown, e: degraded, f: up held, g: up, h: absent, i: up"
    decision = decided(text, "g/g", Will(drained=frozenset("i")))
    assert decision.order == ("g", "f", "e", "d", "c", "i", "b", "a")


def test_what_the_operator_uses_is_the_first_fallback_among_equals() -> None:
    assert decided("a: up, b: up, c: down", "b/b", Will(use="b")).order == ("b", "a", "c")


def test_another_order_alone_is_no_switch() -> None:
    current = Decision(V4, "a", "a", ("a", "b", "c"), R.DOUBT, "as it was", at=3.0)
    then = decide(NOW, current, situation("a: up, b: down, c: up"), Will(), moves_flows=False)
    assert then == replace(current, order=("a", "c", "b"))


def test_where_nothing_changed_the_decision_is_the_same_object() -> None:
    current = Decision(V4, "a", "a", ("a", "b"), R.DOUBT, "as it was", at=3.0)
    assert decide(NOW, current, situation("a: up, b: up"), Will(), moves_flows=False) is current


def test_the_numbers_are_what_it_saw_and_can_be_written_down() -> None:
    seen = decided("a: doubtful, b: up", "a/a")
    assert seen.numbers == {"silence_seconds": 1.0, "standby_proven_seconds": 0.5}
    assert seen.text == "a is doubtful; b answered 0.5 s ago"
    deaf = [replace(c, heard_ago=inf) for c in situation("a: down, b: unknown")]
    decision = decide(NOW, Decision(V4, "a", "a"), deaf, Will(), moves_flows=False)
    assert json.loads(json.dumps(dict(decision.numbers), allow_nan=False)) == {"silence_seconds": 1.0}


# fmt: off
DUE = {
    "a hold-down under way": ("a: up held, b: up", "b", Will(), NOW + 10),
    "not the active one's": ("a: up, b: up held", "b", Will(), inf),
    "one that has no end yet": ("a: down, b: up", "b", Will(), inf),
    "the end of use": ("a: up, b: up", "b", Will("b", NOW + 3), NOW + 3),
    "use without end": ("a: up, b: up", "b", Will("b"), inf),
    "whichever is first": ("a: up held, b: up", "b", Will("b", NOW + 30), NOW + 10),
    "an end without use is none": ("a: up, b: up", "b", Will(None, NOW + 3), inf),
}
# fmt: on


@pytest.mark.parametrize(("text", "active", "will", "due"), DUE.values(), ids=DUE)
def test_what_falls_due_by_time_alone(text: str, active: str, will: Will, due: float) -> None:
    assert next_due(NOW, Decision(V4, active, active), situation(text), will) == due


# --- over all situations ---------------------------------------------------------------------------------------------

NAMES = "abcd"
candidates = st.builds(
    lambda words, flaws: " ".join((words, *flaws)),
    st.sampled_from(list(WORDS)),
    st.sets(st.sampled_from(("unproven", "held", "resting")), max_size=2).map(sorted),
)
situations = st.lists(candidates, min_size=1, max_size=4).map(
    lambda words: [candidate(name, word, rank) for rank, (name, word) in enumerate(zip(NAMES, words, strict=False))]
)
ways = st.sampled_from((None, *NAMES, "z"))
wills = st.builds(
    Will,
    use=st.sampled_from((None, *NAMES, "z")),
    until=st.sampled_from((inf, NOW + 5)),
    strict=st.booleans(),
    drained=st.frozensets(st.sampled_from(NAMES), max_size=4),
)


@given(situations, ways, ways, wills, st.booleans())
def test_what_holds_in_every_situation(
    them: list[Candidate], active: str | None, settled: str | None, will: Will, moves: bool
) -> None:
    before = Decision(V4, active, settled, reason=R.ADOPTED)
    then = decide(NOW, before, them, will, moves_flows=moves)
    by_name = {c.name: c for c in them}
    there = {c.name for c in them if c.verdict not in WAYLESS}
    assert set(then.order) == there
    assert len(then.order) == len(there)
    assert (then.active is None) is (then.settled is None) is (not there)
    assert {then.active, then.settled} <= there | {None}
    if (then.active, then.settled) != (active, settled):
        assert then.text
        assert then.at == NOW
    assert decide(NOW, before, them, will, moves_flows=moves) == then
    again = decide(NOW, then, them, will, moves_flows=moves)
    assert again is then, "the same input moves nothing twice"
    if then.active != active and then.active and active in there:
        self_willed = will.use == then.active or active in will.drained
        here, taken = by_name[active], by_name[then.active]
        if here.verdict is V.UP and not self_willed:
            assert taken.due <= NOW, "no return inside the hold-down while the active one is up"
            assert taken.verdict is V.UP
        if (here.verdict, taken.verdict) == (V.DOUBTFUL, V.DEGRADED):
            assert not any(c.verdict is V.UP and c.proven and c.name not in will.drained for c in them)
        elif here.verdict in (V.UP, V.DEGRADED, V.DOUBTFUL, V.UNKNOWN) and not self_willed:
            assert taken.verdict is V.UP
    if settled in there and by_name[settled].verdict not in LOST and settled not in will.drained:
        assert then.settled == settled or will.use == then.active or then.reason in (R.FAILBACK, R.FIRST, R.DRAIN)


@given(situations, st.sampled_from(NAMES), wills)
def test_two_cannot_play_ping_pong(them: list[Candidate], active: str, will: Will) -> None:
    """As long as nothing but time changes, a family comes to rest after one move, and at the end of all hold-downs."""
    assume(active in {c.name for c in them if c.verdict not in WAYLESS})
    decision = Decision(V4, active, active)
    seen = [active]
    for now in (NOW, NOW + 1, NOW + 11, NOW + 12, NOW + 5000):
        decision = decide(now, decision, them, will, moves_flows=False)
        if decision.active != seen[-1]:
            assert decision.active is not None
            seen.append(decision.active)
    assert len(seen) == len(set(seen)), "it came back to where it had left"


@given(situations)
def test_without_a_word_of_the_operator_silence_everywhere_moves_nothing(them: list[Candidate]) -> None:
    silent = [replace(c, verdict=V.DOUBTFUL, due=inf) for c in them]
    current = Decision(V4, "a", "a")
    then = decide(NOW, current, silent, Will(), moves_flows=True)
    assert (then.active, then.settled) == ("a", "a")
