"""The sentence knows every way in which the agent says that an uplink is down."""

from __future__ import annotations

import re

from failover.config import Config
from failover.export.sentence import DOWN_WORDS
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


def test_every_text_of_a_lost_uplink_has_its_words() -> None:
    played = play_script(parse(TROUBLES, "troubles.yaml"), Config(), None, 0)
    texts = [found[1] for line in played.journal.lines if (found := re.search(r"au ipv4 is down: (.*)", line))]
    starts = [start for text in texts for start in DOWN_WORDS if text.startswith(start)]
    assert len(starts) == len(texts) >= 3
    assert set(starts) == DOWN_WORDS.keys()
