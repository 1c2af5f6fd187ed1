from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from failover.core import verdicts
from failover.core.verdicts import TRANSITIONS, WAYLESS, Sign, after, diagram
from failover.model import Verdict

README = Path(verdicts.__file__).parent / "README.md"


def test_the_table_has_a_row_for_each_verdict_and_only_known_signs() -> None:
    assert set(TRANSITIONS) == set(Verdict)
    assert {type(sign) for row in TRANSITIONS.values() for sign in row} <= {Sign}


@pytest.mark.parametrize(("verdict", "sign"), list(itertools.product(Verdict, Sign)))
def test_every_pair_gives_a_verdict_and_the_kernels_word_goes_before_all(verdict: Verdict, sign: Sign) -> None:
    then = after(verdict, sign)
    kernel = {
        Sign.PATH_LOST: Verdict.ABSENT,
        Sign.PATH_COLD: Verdict.COLD,
        Sign.CARRIER_LOST: Verdict.DOWN,
        Sign.PATH_BACK: Verdict.UNKNOWN,
    }
    assert then is kernel.get(sign, TRANSITIONS[verdict].get(sign, verdict))


def test_every_verdict_can_be_reached_and_left() -> None:
    reached = {after(verdict, sign) for verdict in Verdict for sign in Sign}
    assert reached == set(Verdict)
    assert all({after(verdict, sign) for sign in Sign} - {verdict} for verdict in Verdict)


@pytest.mark.parametrize("verdict", [v for v in Verdict if v is not Verdict.DOUBTFUL])
def test_nothing_is_convicted_for_silence_without_having_been_in_doubt(verdict: Verdict) -> None:
    assert after(verdict, Sign.CONVICTION) is verdict


@pytest.mark.parametrize("sign", [Sign.SILENCE, Sign.REFUSAL, Sign.CONVICTION, Sign.RESUME, Sign.BROWNOUT, Sign.ANSWER])
def test_a_portal_stays_one_until_it_is_gone(sign: Sign) -> None:
    assert after(Verdict.PORTAL, sign) is Verdict.PORTAL


def test_an_absent_uplink_hears_nothing() -> None:
    assert {after(Verdict.ABSENT, sign) for sign in Sign} == {*WAYLESS, Verdict.DOWN, Verdict.UNKNOWN}


def test_the_diagram_shows_each_transition_once() -> None:
    lines = diagram().splitlines()
    rows = [(str(v), str(then), sign) for v, row in TRANSITIONS.items() for sign, then in row.items()]
    assert len(lines) == len(set(lines)) == 2 + len(rows) + 4
    assert all(f"    {v} --> {then}: {sign}" in lines for v, then, sign in rows)


def test_the_readme_carries_the_diagram() -> None:
    assert f"```mermaid\n{diagram()}\n```" in README.read_text()
