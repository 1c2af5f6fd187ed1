"""Scenario files: YAML -> `Script`, every problem at once with its line, and the scenarios that ship with the agent.

Only the shape on disk lives here; `SECTIONS` is that shape, README.md says it for people, `script.py` what it means.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, TypeVar

from failover.config import ConfigError
from failover.config.values import WrongValueError, format_duration, parse_name, parse_whole, quoted
from failover.config.yaml_reading import (
    Notes,
    Place,
    Reader,
    attempt,
    boolean,
    bounded,
    choice,
    describe,
    duration,
    find,
    items,
    label,
    read_keys,
    text,
)
from failover.config.yaml_tree import Entries, Items, Scalar, compose, read_text
from failover.model import Auto, Drain, FailoverError, Family, ProbeNow, Undrain, Use, clean
from failover.sim.flows import Counting
from failover.sim.loads import User
from failover.sim.modems import Fit
from failover.sim.script import Act, Actor, ClockJump, Crash, Operator, Phase, Script, Suspend, TargetDead, Van, Weather
from failover.sim.weather import VALUES, WEATHER, Keys
from failover.wording import suggest

SHIPPED: Final = Path(__file__).parent / "scenarios"
UPLINKS_MAX: Final = 16
ITEMS_MAX: Final = 500
SLOTS_MAX: Final = 5
LOOP_MIN: Final = 1.0
"""Seconds: a shorter loop would unroll to more stretches than anybody can wait for."""

T = TypeVar("T")


def shipped() -> tuple[str, ...]:
    """Names of the scenarios that come with the agent."""
    return tuple(sorted(path.stem for path in SHIPPED.glob("*.yaml")))


def find_script(name: str) -> Script:
    """The script in a file, or the shipped one of that name. Raises ConfigError, FailoverError for an unknown name."""
    if os.path.isfile(name):
        return load(name)
    known = shipped()
    if name in known:
        return load(SHIPPED / f"{name}.yaml")
    mend = suggest(name, known) or f"shipped scenarios: {', '.join(known)}"
    raise FailoverError(f"no scenario {quoted(name)}: neither a file nor a shipped one", mend)


def load(path: str | os.PathLike[str]) -> Script:
    return parse(read_text(path), os.fspath(path))


def parse(content: str, source: str) -> Script:
    """The script in a text. Raises ConfigError with every problem."""
    notes = Notes(source)
    value = compose(content, source)
    read = attempt(_script, Place(value or Entries((), 1, 1), "", notes))
    if notes.problems or not read:
        raise ConfigError(tuple(notes.problems))
    return read[0]


def _script(place: Place) -> Script:
    values = read_keys(place, SECTIONS[""], HOMES)
    for key in ("title", "length", "uplinks"):
        if find(place, key) is None:
            place.problem(f"no {key}", f"a scenario has {', '.join(SECTIONS[''])}")
    events = values.pop("events", [])
    whole: dict[str, Any] = {"title": "", "length": 0.0, "actors": values.pop("uplinks", ())} | values
    script = Script(acts=tuple(act for event in events for act in event), **whole)
    if not place.notes.problems:
        _check_phases(script, _items_of(place, "uplinks"))
        _check_modems(script, _items_of(place, "uplinks"))
        _check_events(script, events, _items_of(place, "events"))
    return script


# --- what must hold between keys -------------------------------------------------------------------------------------


def _check_phases(script: Script, uplinks: list[Place]) -> None:
    """Names are there once; phases follow one another and end within the script."""
    names: set[str] = set()
    for actor, item in zip(script.actors, uplinks, strict=True):
        if actor.name in names:
            item.problem(f"uplink {quoted(actor.name)} is there twice", "each name is there once")
        names.add(actor.name)
        at = 0.0
        for phase, here in zip(actor.phases, _items_of(item, "phases"), strict=True):
            end = phase.end(at)
            if end <= at:
                here.problem(f"ends at {format_duration(end)}, the phase before at {format_duration(at)}")
            if end > script.length:
                here.problem(f"ends at {format_duration(end)}, the scenario at {format_duration(script.length)}")
            at = end


def _check_modems(script: Script, uplinks: list[Place]) -> None:
    """A slot holds one SIM, and an interface is one thing."""
    taken: dict[tuple[str, int], str] = {}
    links = {actor.name for actor in script.actors} - script.fits.keys()
    for actor, item in zip(script.actors, uplinks, strict=True):
        fit = script.fits.get(actor.name)
        if fit is None:
            continue
        other = taken.setdefault((fit.modem, fit.slot), actor.name)
        if other != actor.name:
            item.problem(f"slot {fit.slot} of modem {quoted(fit.modem)} holds {quoted(other)}", "give it another slot")
        if fit.modem in links:
            item.problem(f"modem {quoted(fit.modem)} is named as a link", "name it after itself, as wwan0")


def _check_events(script: Script, events: list[tuple[tuple[float, Act], ...]], places: list[Place]) -> None:
    """Events come within the script and name uplinks that are in it."""
    names = [actor.name for actor in script.actors]
    for ((at, act), *_), here in zip(events, places, strict=True):
        if at > script.length:
            here.problem(f"comes at {format_duration(at)}, the scenario ends at {format_duration(script.length)}")
        named = getattr(act.command, "name", None) if isinstance(act, Operator) else None
        if named is not None and named not in names:
            here.problem(f"no uplink {quoted(named)}", suggest(named, names) or f"there is {', '.join(names)}")


def _each(place: Place, reader: Reader[T], limit: int) -> list[T]:
    """What could be read of a list."""
    return [value for item in items(place, limit) for value in attempt(reader, item)]


def _items_of(place: Place, key: str) -> list[Place]:
    found = find(place, key)
    return items(found, ITEMS_MAX) if found is not None and isinstance(found.value, Items) else []


# --- uplinks and phases ----------------------------------------------------------------------------------------------


def _uplinks(place: Place) -> tuple[Actor, ...]:
    return tuple(_each(place, _uplink, UPLINKS_MAX))


def _uplink(place: Place) -> Actor:
    values = read_keys(place, SECTIONS["uplinks[]"], HOMES)
    if find(place, "name") is None:
        place.problem("no name", "add one, as 'name: au'")
    everyday = values.get("everyday", {})
    phases = tuple(values.get("phases", ()))
    kept = {key: values[key] for key in ("metered", "chatter", "modem", "network") if key in values}
    return Actor(values.get("name", ""), everyday=Weather(**everyday), phases=phases, **kept)


def _everyday(place: Place) -> dict[str, Any]:
    return read_keys(place, WEATHER, HOMES)


def _phases(place: Place) -> list[Phase]:
    return _each(place, _phase, ITEMS_MAX)


def _phase(place: Place) -> Phase:
    values = read_keys(place, SECTIONS["phase"], HOMES)
    until, lasts = values.pop("until", None), values.pop("for", None)
    if (find(place, "until") is None) == (find(place, "for") is None):
        place.problem("when does it end?", "give either until (from the scenario's start) or for (a length)")
    values.pop("note", None)
    cycle, families = tuple(values.pop("cycle", ())), values.pop("families", None)
    return Phase(until, lasts, values, families, cycle, _written(place))


def _cycle(place: Place) -> tuple[Phase, ...]:
    """The parts of a loop: lengths, not moments."""
    parts = _each(place, _phase, ITEMS_MAX)
    for item in items(place, ITEMS_MAX):
        if (until := find(item, "until")) is not None:
            until.problem("a loop has no moments", "write for and a length")
    if parts and sum(part.lasts if part.lasts is not None else LOOP_MIN for part in parts) < LOOP_MIN:
        raise WrongValueError("the loop takes no second", "give its parts lengths, as 'for: 20s'")
    return tuple(parts)


def _written(place: Place) -> str:
    """A phase as its author wrote it, on one line."""
    pairs = place.value.pairs if isinstance(place.value, Entries) else ()
    kept = [(k.text, v) for k, v in pairs if isinstance(k, Scalar) and k.text not in ("until", "for", "note")]
    note = find(place, "note")
    words = [note.value.text] if note is not None and isinstance(note.value, Scalar) else []
    return clean("; ".join([*words, *(f"{key} {_flat(value)}" for key, value in kept)]) or "as every day", 200)


def _flat(value: object) -> str:
    match value:
        case Scalar(text=written):
            return written
        case Items(values=values):
            return " / ".join(_flat(item) for item in values)
        case Entries(pairs=pairs):
            return ", ".join(f"{_flat(key)} {_flat(item)}" for key, item in pairs)
        case _:
            return ""


# --- values ----------------------------------------------------------------------------------------------------------


def _user(place: Place) -> User:
    return User(**read_keys(place, SECTIONS["user"], HOMES))


def _families(place: Place) -> tuple[Family, ...]:
    known = choice("a family", tuple(Family))
    return tuple(dict.fromkeys(Family(name) for name in _each(place, known, 2)))


def _van(place: Place) -> Van:
    return Van(choice("a van", tuple(Van))(place))


def _fit(place: Place) -> Fit:
    """`NAME`, or all of it."""
    if not isinstance(place.value, Entries):
        return Fit(_name(place))
    values = read_keys(place, SECTIONS["modem"], HOMES)
    if find(place, "name") is None:
        raise WrongValueError("which modem?", "give its name, as {name: wwan0, slot: 2}")
    return Fit(values.pop("name", ""), **values)


def _network(place: Place) -> str:
    code = text("a network", "44051")(place)
    if not (code.isascii() and code.isdecimal() and len(code) in (5, 6)):
        raise WrongValueError(f"{describe(place)} is no network", "its MCC and MNC in quotes, as '44051'")
    return code


def _counting(place: Place) -> Counting:
    return Counting(choice("a way of counting", tuple(Counting))(place))


# --- events ----------------------------------------------------------------------------------------------------------


def _events(place: Place) -> list[tuple[tuple[float, Act], ...]]:
    return _each(place, _event, ITEMS_MAX)


def _event(place: Place) -> tuple[tuple[float, Act], ...]:
    values = read_keys(place, SECTIONS["events[]"], HOMES)
    at, lasts = values.pop("at", None), values.pop("for", None)
    if find(place, "at") is None:
        raise WrongValueError("no moment", "add it, as 'at: 10m'")
    if at is None:
        return ()
    if len(values) != 1:
        raise WrongValueError("one thing happens in an event", f"one of {', '.join(ACTS)}")
    ((key, value),) = values.items()
    if key == "dead_target":
        back = () if lasts is None else ((at + lasts, TargetDead(value, False)),)
        return ((at, TargetDead(value, True)), *back)
    if lasts is not None and key != "use":
        raise WrongValueError(f"'for' says nothing about {key}", "it goes with use and dead_target")
    return ((at, _act(key, value, lasts)),)


def _act(key: str, value: Any, lasts: float | None) -> Act:
    match key:
        case "use":
            return Operator(Use(value) if lasts is None else Use(value, lasts))
        case "auto":
            return Operator(Auto())
        case "drain":
            return Operator(Drain(value))
        case "undrain":
            return Operator(Undrain(value))
        case "probe":
            return Operator(ProbeNow(value))
        case "crash":
            return Crash(value)
        case "suspend":
            return Suspend(value)
        case _:
            return ClockJump(value)


# --- the shape -------------------------------------------------------------------------------------------------------

_name = label("a name", "au", parse_name)
_text = text("a text", "what happened")

ACTS: Final[Keys] = {
    "use": _name,
    "auto": boolean,
    "drain": _name,
    "undrain": _name,
    "probe": _name,
    "crash": duration("0s", "24h"),
    "suspend": duration("1s", "720h"),
    "clock": duration("0s", "100000h"),
    "dead_target": _text,
}

SECTIONS: Final[Mapping[str, Keys]] = {
    "": {
        "title": _text,
        "families": _families,
        "length": duration("1s", "1000h"),
        "settle": duration("0s", "24h"),
        "requests_every": duration("10ms", "1h"),
        "trusted_clock": boolean,
        "apart": boolean,
        "van": _van,
        "counted": _counting,
        "user": _user,
        "uplinks": _uplinks,
        "events": _events,
    },
    "user": {
        "requests": boolean,
        "open": boolean,
        **dict.fromkeys(("download", "upload", "one_way", "dead_server"), duration("1ms", "1h")),
    },
    "uplinks[]": {
        "name": _name,
        "metered": boolean,
        "chatter": duration("1ms", "1h"),
        "modem": _fit,
        "network": _network,
        "everyday": _everyday,
        "phases": _phases,
    },
    "phase": {
        "until": duration("1ms", "1000h"),
        "for": duration("1ms", "1000h"),
        "note": _text,
        "families": _families,
        "cycle": _cycle,
        **WEATHER,
    },
    "events[]": {"at": duration("0s", "1000h"), "for": duration("1s", "1000h"), **ACTS},
    "modem": {
        "name": _name,
        "slot": bounded("a slot", parse_whole, 1, SLOTS_MAX, str),
        **dict.fromkeys(("reset", "switch"), duration("500ms", "10m")),
        "registers": duration("0s", "10m"),
        "dials": boolean,
    },
    **VALUES,
}
"""Section -> key -> reader. `[]` stands for each item of a list."""

HOMES: Final[Mapping[str, str]] = {}
