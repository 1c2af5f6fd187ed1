"""The documents of the agent as lines for people, and what part of one is wanted.

Everything that came in with them is cleaned before it is shown.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from math import ceil, inf
from typing import Any, Final

from failover.cli.screen import Screen
from failover.export import modem_words
from failover.export.commands import meant
from failover.export.sentence import about, sentence
from failover.export.table import COLUMNS, remarks, rows
from failover.export.words import cleaned, clock, flapped, forwarded, lasting, milliseconds, ratio, serving, size, span
from failover.model import RECEIVING, ControlError, Verdict, clean

SPARE: Final = ("answered", "rtt", "loss", "interface", "for")
"""Columns of the status table that a narrow terminal can do without."""
MODEM_SPARE: Final = ("slot", "state")
CANDIDATE_COLUMNS: Final = ("", "uplink", "verdict", "standing", "owes", "why")
THRESHOLDS: Final = {"doubt_after_seconds": "doubt", "conviction_after_seconds": "conviction"}
"""Numbers of a candidate that most have in common, and what comes then."""
AGES: Final = ("last_proven_seconds", "user_replied_seconds")
"""Numbers that say how long ago something was."""
UNCOUNTED: Final = {"interface": "only its interface is counted, not its flows", "no": "its traffic is not counted"}
"""How the traffic of the active uplink is counted, where that is worth a word."""
WAYS: Final = {"resolved": "systemd-resolved", "resolvconf": "openresolv", "file": "a file of ours"}
"""By which names are asked."""
PIPE_WIDTH: Final = 160
"""Columns of a long explanation where there is no terminal."""
DEEP: Final = "    "
"""Before the further lines of a paragraph."""


def only(status: dict[str, Any], name: str | None) -> dict[str, Any]:
    """The document with nothing but this uplink among its uplinks; ControlError if there is no such one."""
    if name is None:
        return status
    found = [uplink for uplink in status["uplinks"] if uplink["name"] == name]
    if not found:
        raise ControlError(f"no uplink is named {clean(name)}", _hint(status["uplinks"], name))
    return {**status, "uplinks": found, "usable": any(uplink["usable"] for uplink in found)}


def _hint(uplinks: Sequence[Mapping[str, Any]], name: str) -> str:
    """Which uplink may be meant by what is no name of one."""
    of = [clean(uplink["name"]) for uplink in uplinks if uplink["interface"] == name]
    if of:
        return f"that is the interface of {of[0]}"
    return meant(name, [str(uplink["name"]) for uplink in uplinks]) if uplinks else "there is none"


def status_lines(status: Mapping[str, Any], name: str | None, now: float, screen: Screen) -> Iterator[str]:
    """Sentence, warnings, table, modems; with a name the sentence begins with that uplink, and the tables have no
    other."""
    yield from screen.wrap(sentence(status, now) if name is None else about(status, name, now))
    for remark in remarks(status):
        yield from screen.wrap(remark)
    if shown := list(rows(status, now, name)):
        yield from screen.table(COLUMNS, shown, SPARE)
    if modems := list(modem_words.rows(status, name)):
        yield ""
        yield from screen.table(modem_words.COLUMNS, modems, MODEM_SPARE)


def event_lines(events: Sequence[Mapping[str, Any]], now: float, screen: Screen) -> Iterator[str]:
    """One line per event; `~` marks a time by a clock that nobody had set."""
    for event in cleaned(events):
        at = ("" if event["clock_trusted"] else "~") + clock(event["unix_seconds"], now, near=inf)
        yield from screen.wrap(f"{at}  {event['id']}  {event['kind']}: {event['text']}", "  ")


def probe_lines(told: Sequence[Mapping[str, Any]], screen: Screen) -> Iterator[str]:
    """One row per target."""
    table = [(one["outcome"], milliseconds(one["rtt_seconds"]), one["family"], one["url"]) for one in told]
    yield from screen.table(("outcome", "rtt", "family", "target"), table)


# --- explain ---------------------------------------------------------------------------------------------------------


def explain_lines(explained: Mapping[str, Any], now: float, screen: Screen) -> Iterator[str]:
    """For each family: the decision, the rule, every candidate, and what would change that and when."""
    screen = replace(screen, width=screen.width or PIPE_WIDTH)
    told = cleaned(explained)
    families = told["families"]
    if not families:
        yield "nothing is decided yet"
    for number, (family, one) in enumerate(families.items()):
        if number:
            yield ""
        yield screen.paint(f"{family} by {one['active'] or 'nothing'}", "bold")
        yield from _decision(one, told.get("gateway"), now, screen)
        yield from screen.table(CANDIDATE_COLUMNS, [_candidate(candidate) for candidate in one["candidates"]])
        for line in _thresholds(one["candidates"]):
            yield from screen.wrap(line, DEEP, "  ")
        yield "  what would change that:"
        for prospect in one["prospects"]:
            yield from screen.wrap(_prospect(prospect, now), DEEP, "  - ")
        if not one["prospects"]:
            yield "  - nothing that is in sight"
    box = list(modem_words.sentences(told.get("modems", []), now))
    box += [serving(told["gateway"])] if told.get("gateway") else []
    box += [f"names {_names(told['names'])}"] if "names" in told else []
    if families and box:
        yield ""
        for line in box:
            yield from screen.wrap(line, "  ")


def _names(told: Mapping[str, Any]) -> str:
    """Whom the box asks, and over which uplinks."""
    asked = [f"{', '.join(one['name_servers'])} over {one['uplink']}" for one in told["asked"]]
    if told["way"] == "none":
        return f"are left as they are{': ' + told['text'] if told['text'] else ''}"
    whom = f"{' and of '.join(asked) or 'whom the box knows'}, by {WAYS[told['way']]}"
    return f"are to be asked of {whom}; but {told['text']}" if told["text"] else f"are asked of {whom}"


def passage_lines(found: Mapping[str, Any], screen: Screen) -> Iterator[str]:
    """By which way a new flow would go, why, and what else it may take."""
    told = cleaned(found)
    way = f"is held for {told['uplink']}" if told["held"] else f"goes by {told['uplink'] or 'no uplink'}"
    yield from screen.wrap(f"a new flow {'is refused' if told['refused'] else way}")
    yield from screen.wrap(told["text"], DEEP, "  ")
    if told["allowed"]:
        allowed = ", ".join(f"{one['name']} ({one['verdict']})" for one in told["allowed"])
        yield from screen.wrap(f"allowed: {allowed}", DEEP, "  ")


def _decision(one: Mapping[str, Any], gateway: Mapping[str, Any] | None, now: float, screen: Screen) -> Iterator[str]:
    """What was decided and why, and the rule that holds now."""
    since = f"since {clock(now - one['since_seconds'], now)}"
    numbers = _measured(_telling(one["numbers"]))
    yield from screen.wrap(f"{since}: {one['reason']}: {one['decision_text']}{numbers}", DEEP, "  ")
    if one["settled"] != one["active"]:
        yield from screen.wrap(f"{forwarded(gateway)} by {one['settled'] or 'nothing'}", DEEP, "  ")
    text = one["text"]
    for candidate in one["candidates"]:
        text = text.replace(candidate["text"], _lasting(candidate, candidate["text"]))
    yield from screen.wrap(f"rule now: {one['rule']}: {text}", DEEP, "  ")


def _candidate(candidate: Mapping[str, Any]) -> tuple[str, ...]:
    owed = candidate["owed_seconds"]
    standing = "drained" if candidate["drained"] else "proven" if candidate["proven"] else "-"
    text = _lasting(candidate, candidate["text"])
    objection = candidate["objection"].replace(candidate["text"], text)
    reasons = [f"not used: {objection}"] if objection else []
    reasons[:0] = [] if text in objection else [text]
    return (
        "*" if candidate["active"] else "",
        candidate["name"],
        candidate["verdict"],
        standing,
        span(owed) if owed else "-",
        "; ".join(filter(None, [*reasons, *_evidence(candidate, text)])) + _measured(_numbers(candidate)),
    )


def _evidence(candidate: Mapping[str, Any], text: str) -> Iterator[str]:
    """What else is held against it or for it, unless `text` says so."""
    if candidate["active"]:
        yield UNCOUNTED.get(candidate["counted"], "")
    if candidate["last_silence"] not in text:
        yield f"last silence: {candidate['last_silence']}"
    yield flapped(candidate["relapses"] or 0.0, candidate["forgiven_seconds"])


def _lasting(candidate: Mapping[str, Any], text: str) -> str:
    return lasting(text, None, candidate["numbers"].get("silence_seconds"))


def _numbers(candidate: Mapping[str, Any]) -> dict[str, float]:
    """Those that a person needs and is not told in the text: no silence of what receives, no hold-down that is not
    owed, no budget where nothing can be asked."""
    told = _telling(candidate["numbers"])
    irrelevant = {*THRESHOLDS}
    if candidate["verdict"] in RECEIVING or _lasting(candidate, candidate["text"]) != candidate["text"]:
        irrelevant.add("silence_seconds")
    if not candidate["owed_seconds"]:
        irrelevant.add("hold_down_seconds")
    if candidate["verdict"] == Verdict.ABSENT:
        irrelevant.add("budget_remaining_bytes")
    return {name: value for name, value in told.items() if name not in irrelevant}


def _telling(numbers: Mapping[str, float | None]) -> dict[str, float]:
    """Without zeros; the usual round trip only where it is another one."""
    told = {name: value for name, value in numbers.items() if value}
    usual, rtt = told.get("rtt_usual_seconds"), told.get("rtt_seconds")
    if usual is not None and (rtt is None or milliseconds(usual) == milliseconds(rtt)):
        del told["rtt_usual_seconds"]
    return told


def _thresholds(candidates: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """What silence leads to; the uplinks are named where they differ."""
    said = []
    for key, word in THRESHOLDS.items():
        held: dict[str, list[str]] = {}
        for one in candidates:
            if value := one["numbers"].get(key):
                held.setdefault(_short(value), []).append(one["name"])
        named = [f"{amount} ({', '.join(names)})" for amount, names in held.items()] if len(held) > 1 else [*held]
        said += [f"to {word} after {', '.join(named)}"] if named else []
    if said:
        yield f"silence leads {'; '.join(said)}"


def _prospect(prospect: Mapping[str, Any], now: float) -> str:
    after = prospect["after_seconds"]
    return prospect["text"] if after is None else f"{clock(now + ceil(after), now)} at the earliest: {prospect['text']}"


def _measured(numbers: Mapping[str, float]) -> str:
    """Numbers in brackets, each with its name and unit."""
    said = [_number(name, value) for name, value in numbers.items()]
    return f" ({', '.join(said)})" if said else ""


def _number(name: str, value: float) -> str:
    for unit, words in (("_seconds", _short), ("_ratio", ratio), ("_bytes", size)):
        if name.endswith(unit):
            return f"{name.removesuffix(unit).replace('_', ' ')} {words(value)}{' ago' if name in AGES else ''}"
    return f"{name.removesuffix('_count').replace('_', ' ')} {value:g}"


def _short(seconds: float) -> str:
    return milliseconds(seconds) if seconds < 1 else span(seconds)
