"""Step histories: what happens to one Health, line by line in virtual time, and what must hold in between."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import inf
from typing import Self

import pytest

from failover.config import Detection
from failover.core.health import Health
from failover.core.uplinks import Path
from failover.facts import Route
from failover.model import PROBE_PATIENCE, Family, Outcome, ProbeKind, ProbeResult, Target, Verdict

Lines = tuple[str, ...]
KINDS = {"D": ProbeKind.DNS, "T": ProbeKind.TCP, "V": ProbeKind.HTTPS, "W": ProbeKind.HTTP}
OUTCOMES = {
    "answer": Outcome.ANSWERED,
    "late": Outcome.ANSWERED,
    "silence": Outcome.SILENT,
    "refuse": Outcome.REFUSED,
    "portal": Outcome.PORTAL,
    "local": Outcome.LOCAL,
    "clock": Outcome.CLOCK,
    "noname": Outcome.NAME,
}
PATHS = {
    "lost": Path(fault="no default route"),
    "uncarried": Path(Route(Family.IPV4, 254, 1, interface=2), ("10.0.0.2",), "no carrier", certain=True),
    "there": Path(Route(Family.IPV4, 254, 1, interface=2, gateway="10.0.0.1"), ("10.0.0.2",), ""),
    "readdressed": Path(Route(Family.IPV4, 254, 1, interface=2, gateway="10.0.0.1"), ("10.0.0.3",), ""),
    "rerouted": Path(Route(Family.IPV4, 254, 1, interface=2, gateway="10.0.0.9"), ("10.0.0.2",), ""),
    "reindexed": Path(Route(Family.IPV4, 254, 1, interface=7, gateway="10.0.0.1"), ("10.0.0.2",), ""),
    "doubled": Path(Route(Family.IPV4, 254, 9, interface=2, gateway="10.0.0.1"), ("10.0.0.9", "10.0.0.2"), ""),
}


def stories(told: Mapping[str, Lines]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Of each story the first line names the targets."""
    return pytest.mark.parametrize(("letters", "lines"), [(v[0], v[1:]) for v in told.values()], ids=list(told))


def target(letter: str) -> Target:
    """D asks a name server, T a TCP port, V and W the web; any other letter is pinged."""
    kind = KINDS.get(letter, ProbeKind.ICMP)
    return Target(kind, f"host-{letter}", family=Family.IPV4, url=f"{kind}://{letter}")


class Story:
    """A Health in virtual time. It begins unknown, with a path."""

    def __init__(self, letters: str = "AB", detection: Detection | None = None) -> None:
        self.health = Health(detection or Detection(), -10.0)
        self.health.aim(-10.0, [target(letter) for letter in letters])
        self.health.follow(-10.0, PATHS["there"])
        self.witness: float | None = None
        self.at_fault: list[str] = []
        self.now = -10.0
        self._open: dict[str, list[tuple[int, float]]] = {}
        self._last = 0

    def play(self, *lines: str) -> Self:
        """Each line: seconds, a word, and what it is about (letters of targets, a path, a verdict)."""
        for line in lines:
            at, word, *rest = line.split()
            self.until(float(at))
            self._do(word, rest[0] if rest else "", line)
        return self

    def up(self) -> Story:
        """Every target has answered, quickly, a while before 0."""
        for letter in "".join(url.rpartition("/")[2] for url in self.health.record.targets):
            self.play(f"-2 send {letter}", f"-1.97 answer {letter}")
        return self.play("-1.97 up")

    def until(self, at: float) -> None:
        """Judge at every deadline up to and with `at`; what nothing came back for is silent after its patience."""
        for _ in range(10_000):
            waiting = [(probes[0][1] + PROBE_PATIENCE, letter) for letter, probes in self._open.items() if probes]
            given_up, letter = min(waiting, default=(inf, ""))
            due = self.health.deadline()
            assert due >= self.now, "the deadline lies in the past"
            if min(due, given_up) > at:
                break
            self.now = min(due, given_up)
            if given_up < due:
                self.hear(letter, Outcome.SILENT, oldest=True)
            self._judge(self.now)
        else:
            raise AssertionError("deadline after deadline, and no end")
        self.now = at

    def _judge(self, at: float) -> None:
        self.now = at
        self.health.judge(at, self.witness, self.at_fault)
        assert self.health.deadline() > at

    def _do(self, word: str, what: str, line: str) -> None:
        health = self.health
        if word in ("send", "burst"):
            for letter in what:
                self.send(letter, steady=word == "send")
        elif word in OUTCOMES:
            for letter in what:
                self.hear(letter, OUTCOMES[word], oldest=word == "late")
        elif word == "witness":
            self.witness = float(what) if what else None
        elif word == "blame":
            self.at_fault = [target(letter).url for letter in what.strip("-")]
        elif word == "path":
            health.follow(self.now, PATHS[what])
        elif word == "aim":
            health.aim(self.now, [target(letter) for letter in what.strip("-")])
        elif word == "sleep":
            health.resumed(self.now)
        elif word in ("suspicious", "calm"):
            self._judge(self.now)
            assert health.suspicious(self.now) is (word == "suspicious"), line
            return
        else:
            assert health.verdict is Verdict(word), f"{line}: it is {health.verdict}: {health.text}"
            return
        self._judge(self.now)

    def waits(self, letter: str) -> bool:
        return bool(self._open.get(letter))

    def send(self, letter: str, *, steady: bool = True) -> None:
        self._last += 1
        self._open.setdefault(letter, []).append((self._last, self.now))
        self.health.sent(self.now, self._last, target(letter), steady=steady)

    def hear(self, letter: str, outcome: Outcome, *, oldest: bool = False) -> Outcome | None:
        """Something comes back for the newest open probe of the target."""
        probe, sent = self._open[letter].pop(0 if oldest else -1)
        rtt = None if outcome in (Outcome.SILENT, Outcome.LOCAL, Outcome.NAME) else self.now - sent
        return self.health.result(self.now, ProbeResult(probe, outcome, rtt))

    def rhythm(self, start: float, answers: Sequence[bool], letters: str, rtt: float = 0.03) -> float:
        """A steady probe a second over the targets in turn, answered after `rtt` or not at all; returns the end.

        As the schedule does it: an overdue one is followed by a burst probe to another target, which is answered as the
        next steady one is.
        """
        for number, answered in enumerate(answers):
            at, letter = start + number, letters[number % len(letters)]
            self.play(f"{at} send {letter}")
            if answered:
                self.play(f"{at + rtt} answer {letter}")
                continue
            other = letters[(number + 1) % len(letters)]
            self.until(at + 0.4)
            if self.health.suspicious(self.now) and other != letter:
                self.play(f"{at + 0.4} burst {other}", f"{at + 0.4 + rtt} answer {other}")
        return start + len(answers)
