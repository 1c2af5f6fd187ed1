"""The sentence knows every way in which the agent says that an uplink is down."""

from __future__ import annotations

from failover.config import Config
from failover.core.engine import Engine, Event
from failover.export.sentence import DOWN_WORDS
from failover.model import Verdict
from failover.seam import Effect
from failover.sim.scenario import parse
from failover.sim.stage import play_script

TROUBLES = """
title: every way to be down
length: 8m
families: [ipv4]
uplinks:
  - name: au
    phases:
      - {until: 1m}
      - {for: 30s, loss: 1}
      - {until: 3m}
      - {for: 30s, refused: yes}
      - {until: 6m}
      - {for: 30s, link: no}
  - name: docomo
"""


def test_every_cause_has_its_words() -> None:
    causes: set[str] = set()

    class Noting(Engine):
        def handle(self, now: float, event: Event) -> list[Effect]:
            effects = super().handle(now, event)
            views = [view for uplink in self.snapshot().uplinks for view in uplink.families.values()]
            causes.update(view.cause for view in views if view.verdict is Verdict.DOWN)
            return effects

    play_script(parse(TROUBLES, "troubles.yaml"), Config(), None, 0, Noting)
    assert causes == {cause.value for cause in DOWN_WORDS}
