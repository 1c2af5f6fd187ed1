"""`use` against a hold-down: the operator's word pays what is owed when it is given, and no later conviction."""

from __future__ import annotations

import pytest

from failover.model import Auto, Use, Verdict

from .box import Box, dead


def lost() -> Box:
    """`au` fell silent at 100 s, was convicted, and will answer from 160 s on."""
    box = Box("au", "docomo")
    box.weather["au"] = dead(100, 160)
    box.run(130)
    assert (box.active(), box.verdict("au")) == ("docomo", Verdict.DOWN)
    return box


def up_at(box: Box, since: float) -> float:
    return next(at for at, notice in box.notices if at > since and notice.text.startswith("au ipv4 is up"))


def switches(box: Box, since: float) -> list[str]:
    return [line.split(" ", 1)[1] for line in box.switches(since)]


@pytest.mark.parametrize("said_at", [130.0, 170.0], ids=["while it is down", "in its hold-down"])
def test_the_word_counts_as_soon_as_the_uplink_answers(said_at: float) -> None:
    box = lost().run(said_at)
    box.ask(Use("au"))
    box.run(300)
    (line,) = box.switches(said_at)
    assert line.split(" ", 1)[1] == "docomo>au(au) operator"
    assert float(line.split()[0]) == pytest.approx(max(said_at, up_at(box, 131)), abs=0.01)


def test_it_is_foretold() -> None:
    box = lost()
    box.ask(Use("au"))
    told = [prospect.text for prospect in box.engine.explain(130)[0].prospects]
    assert "all traffic goes back to au when au answers" in told


def test_what_was_paid_is_paid_for_good() -> None:
    """A doubt after it is a doubt: 10 s, and not the rest of the hold-down."""
    box = lost()
    box.ask(Use("au", seconds=60))
    box.run(192)
    assert (box.active(), box.engine.snapshot().use) == ("au", None)
    box.weather["au"] = dead(200, 201.4)
    box.run(230)
    assert switches(box, 193) == ["au>docomo(au) doubt", "docomo>au(au) acquittal"]


def test_a_later_conviction_owes_anew() -> None:
    """Else a link that answers now and then would break all connections each time."""
    box = lost()
    box.ask(Use("au"))
    box.weather["au"] = lambda now, _: None if now < 160 or 170 <= now < 200 else 0.03
    box.run(400)
    at_once, later = (float(line.split()[0]) for line in box.switches(130) if "docomo>au" in line)
    assert at_once == pytest.approx(up_at(box, 131), abs=0.01)
    assert later == pytest.approx(up_at(box, 172) + 60, abs=0.01)


def test_a_word_that_was_taken_back_pays_nothing() -> None:
    box = lost()
    box.ask(Use("au"))
    box.run(140)
    box.ask(Auto())
    box.run(400)
    (line,) = box.switches(130)
    assert line.endswith("docomo>au(docomo) failback")
    assert float(line.split()[0]) == pytest.approx(up_at(box, 131) + 60, abs=0.01)


def test_a_link_that_may_be_back_is_no_link_that_answers() -> None:
    box = lost()
    box.ask(Use("au"))
    box.change("au", carrier=False)
    box.run(140)
    box.change("au", carrier=True)
    box.run(159)
    assert box.verdict("au") in (Verdict.UNKNOWN, Verdict.DOUBTFUL, Verdict.DOWN)
    assert box.switches(130) == []
    assert box.run(300).active() == "au"


def test_a_strict_word_that_ends_before_it_answers_pays_nothing() -> None:
    box = lost()
    box.ask(Use("au", strict=True))
    assert box.active() == "au"
    box.run(140)
    box.ask(Auto())
    assert box.active() == "docomo"
    box.run(400)
    assert float(box.switches(141)[0].split()[0]) == pytest.approx(up_at(box, 141) + 60, abs=0.01)
