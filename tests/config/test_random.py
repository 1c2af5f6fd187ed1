"""Any tree survives a trip through YAML; any bytes give a Config or a ConfigError that points into the file."""

from __future__ import annotations

import ipaddress
import re
import string
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from failover.carriers import plain
from failover.config import (
    DEFAULT_TARGETS,
    Config,
    ConfigError,
    Detection,
    Flows,
    Metered,
    Metrics,
    Names,
    Policy,
    Uplink,
)
from failover.config.modems import Dialer, Matter, Messages, Modem, Repair, Roaming, Rung
from failover.config.reading import parse
from failover.config.targets import parse_target
from failover.config.values import (
    WrongValueError,
    format_duration,
    format_size,
    mask_room,
    parse_duration,
    parse_size,
)
from failover.config.yaml_tree import decode
from failover.facts import Gateway
from failover.model import FAMILIES, Family, Keep, Target
from failover.modem import Dial
from failover.resolvers import Way

unhurried = settings(deadline=None)
"""Time is not the matter here, and this machine may be busy."""
CORPUS = [path.read_bytes() for path in sorted(Path(__file__).parent.rglob("*.yaml"))]

# --- trees -----------------------------------------------------------------------------------------------------------


def seconds(low: int, high: int) -> st.SearchStrategy[float]:
    """Milliseconds from `low` to `high`, as seconds."""
    return st.integers(low, high).map(lambda ms: ms / 1000)


def few(low: int, high: int) -> st.SearchStrategy[frozenset[int]]:
    return st.frozensets(st.integers(low, high), max_size=8)


WORD = string.ascii_letters + string.digits
NAMES = st.text(WORD + "_.-", min_size=1, max_size=32) | st.sampled_from(
    ["no", "on", "null", "1", "010", "1.5", "2026-01-31"]
)
INTERFACES = st.text(WORD + "_.-@%*", min_size=1, max_size=15).filter(lambda name: name not in (".", "..", "lo"))
ADDRESSES = st.one_of(
    st.integers(0x0B000000, 0x7E000000).map(ipaddress.IPv4Address),
    st.integers(0x2000 << 112, (0x3000 << 112) - 1).map(ipaddress.IPv6Address),
)
NETWORKS = st.tuples(ADDRESSES, st.integers(1, 32)).map(lambda t: str(ipaddress.ip_network(t, strict=False)))
HOSTS = ADDRESSES.map(lambda address: f"[{address}]" if address.version == 6 else str(address))
DNS_NAMES = st.lists(st.from_regex(r"[a-z]([a-z0-9_-]{0,8}[a-z0-9])?", fullmatch=True), min_size=1, max_size=4).map(
    ".".join
)
PORTS = st.integers(1, 65535)
URLS = st.one_of(
    HOSTS.map(lambda host: f"icmp://{host}"),
    st.tuples(HOSTS, PORTS).map(lambda t: f"tcp://{t[0]}:{t[1]}"),
    st.tuples(HOSTS, PORTS, DNS_NAMES).map(lambda t: f"dns://{t[0]}:{t[1]}/{t[2]}"),
    st.tuples(
        st.sampled_from(["http", "https"]),
        st.one_of(HOSTS, DNS_NAMES),
        PORTS,
        st.from_regex(r"(/[A-Za-z0-9._~-]{0,5}){1,3}", fullmatch=True),
        st.sampled_from(["", "?a=1", "?status=200", "?a=1&status=404&b"]),
    ).map(lambda t: f"{t[0]}://{t[1]}:{t[2]}{t[3]}{t[4]}"),
)
TARGETS = URLS.map(parse_target)
SERVERS = st.lists(ADDRESSES.map(str), max_size=6, unique=True).map(tuple)
TARGET_LISTS = st.lists(TARGETS, max_size=6, unique_by=lambda target: target.url).map(tuple)


@st.composite
def detections(draw: st.DrawFn) -> Detection:
    suspicion = draw(seconds(50, 9_000))
    doubt = draw(seconds(max(100, round(suspicion * 1000) + 1), 29_000))
    conviction = draw(seconds(max(500, round(doubt * 1000) + 1), 120_000))
    rtt_factor = draw(st.integers(10, 100)) / 10
    return Detection(
        suspicion, doubt, conviction, draw(seconds(1000, 3_600_000)), draw(st.integers(2, 100)), rtt_factor
    )


def gateways(taken: list[str]) -> st.SearchStrategy[Gateway]:
    lan = st.lists(INTERFACES.filter(lambda name: name not in taken), min_size=1, max_size=4, unique=True)
    return st.builds(Gateway, lan.map(tuple), st.booleans())


WRITTEN = st.text(WORD + " *!&é'\"#:", min_size=1, max_size=64)
DIALS = st.builds(
    Dial,
    st.text(WORD + "._-@", max_size=100),
    st.just("") | WRITTEN,
    st.just("") | WRITTEN,
    st.sampled_from([(Family.IPV4,), (Family.IPV6,), FAMILIES]),
)


def digits(low: int, high: int) -> st.SearchStrategy[str]:
    return st.text(string.digits, min_size=low, max_size=high)


@st.composite
def modems(draw: st.DrawFn) -> Modem:
    identity = draw(st.sampled_from(["imei", "device", "serial"]))
    value = draw({"imei": digits(15, 15), "device": DEVICES, "serial": SERIALS}[identity])
    roaming = draw(st.sampled_from(Roaming))
    return Modem(
        **{identity: value},
        slot=draw(st.integers(1, 8)),
        iccid=draw(st.just("") | digits(18, 20)),
        dial=replace(draw(DIALS), roaming=roaming is not Roaming.DENY),
        pin=draw(st.just("") | digits(4, 8)),
        roaming=roaming,
        connect=draw(st.sampled_from(Dialer)),
    )


def told_apart(modem: Modem | None) -> object:
    """By the last step of its path: any path that ends so may be the same device."""
    return object() if modem is None else (modem.imei, modem.device.rpartition("/")[2], modem.serial)


DEVICES = st.from_regex(r"\A/?([a-z0-9]{1,6}/){0,3}[0-9]-[0-9](\.[0-9])?\Z")
SERIALS = st.text(string.punctuation + WORD, min_size=1, max_size=64)
MODEMS = st.none() | modems()
REPAIRS = st.builds(
    Repair,
    st.lists(st.sampled_from(Rung), unique=True).map(tuple),
    seconds(60_000, 86_400_000),
    st.integers(0, 48),
    st.integers(0, 12),
)
MESSAGES = st.builds(
    Messages,
    st.just(0.0) | st.integers(86_400, 366 * 86_400).map(float),
    st.booleans(),
    st.dictionaries(
        st.sampled_from(Matter),
        st.lists(
            st.sampled_from(["stop", "no", "0123", "利用.{0,9}停止", r"\$[0-9]{1,9}\.00"]), min_size=1, unique=True
        ).map(tuple),
    ),
)


@st.composite
def configs(draw: st.DrawFn) -> Config:
    bits = draw(st.integers(3, 32))
    mask = ((1 << bits) - 1) << draw(st.integers(0, 32 - bits))
    names = draw(st.lists(NAMES, max_size=min(8, mask_room(mask)), unique=True))
    interfaces = draw(st.lists(INTERFACES, min_size=len(names), max_size=len(names), unique=True))
    metered = st.none() | st.lists(st.integers(10**6, 10**12), min_size=2, max_size=2).map(
        lambda sizes: Metered(max(sizes), min(sizes))
    )
    modems = iter(draw(st.lists(MODEMS, min_size=len(names), max_size=len(names), unique_by=told_apart)))
    uplinks = tuple(
        Uplink(
            name,
            "" if (modem := next(modems)) and draw(st.booleans()) else interface,
            draw(st.text(WORD + " é/:#", max_size=64)),
            draw(metered),
            draw(st.none() | TARGET_LISTS),
            draw(st.just(()) | st.lists(NETWORKS, min_size=1, max_size=4, unique=True).map(tuple)),
            draw(st.none() | SERVERS),
            modem,
        )
        for name, interface in zip(names, interfaces, strict=True)
    )
    listen = st.none() | st.tuples(HOSTS, PORTS).map(lambda t: f"{t[0]}:{t[1]}")
    return Config(
        uplinks,
        draw(TARGET_LISTS),
        draw(detections()),
        Policy(draw(seconds(1000, 3_600_000)), draw(st.booleans())),
        Flows(Keep(draw(few(1, 65535)), draw(few(0, 2**32 - 2)))),
        draw(st.booleans()),
        Names(draw(st.sampled_from(Way)), draw(SERVERS)),
        Metrics(draw(listen)),
        mask,
        gateway=draw(st.none() | gateways(interfaces)),
        repair=draw(REPAIRS),
        messages=draw(MESSAGES),
        networks=draw(st.dictionaries(st.sampled_from(["povo", "44051", "no", "1.5"]), NAMES.filter(plain))),
    )


def written(config: Config) -> dict[str, Any]:
    """The tree as an operator would write it, every key said."""
    detection = config.detection
    return {
        "uplinks": [written_uplink(uplink) for uplink in config.uplinks],
        "probes": {"targets": [target.url for target in config.targets]},
        "detection": {
            **{k: format_duration(getattr(detection, k)) for k in ("suspicion", "doubt", "conviction", "return_after")},
            "conviction_sends": detection.conviction_sends,
            "rtt_factor": detection.rtt_factor,
        },
        "policy": {
            "failback_after": format_duration(config.policy.failback_after),
            "failback_moves_flows": config.policy.failback_moves_flows,
        },
        "flows": {"keep": {key: sorted(numbers) for key, numbers in asdict(config.flows.keep).items()}},
        **({} if config.gateway is None else {"gateway": asdict(config.gateway)}),
        "mptcp": "auto" if config.mptcp else "off",
        "dns": {"way": config.dns.way.value, "servers": list(config.dns.servers)},
        "repair": {
            "steps": [str(step) for step in config.repair.steps],
            "reset_interval": format_duration(config.repair.reset_interval),
            "resets_per_day": config.repair.resets_per_day,
            "switches_per_hour": config.repair.switches_per_hour,
        },
        "sms": {
            "keep": format_duration(config.messages.keep) if config.messages.keep else "none",
            "text": config.messages.text,
            "patterns": {str(matter): list(patterns) for matter, patterns in config.messages.patterns.items()},
        },
        "carriers": dict(config.networks),
        "metrics": {"listen": config.metrics.listen or "none"},
        "kernel": {"fwmark_mask": f"{config.fwmark_mask:#x}"},
    }


def written_uplink(uplink: Uplink) -> dict[str, Any]:
    metered = uplink.metered
    return {
        "name": uplink.name,
        **({"interface": uplink.interface} if uplink.interface else {}),
        **({} if uplink.modem is None else {"modem": written_modem(uplink.modem)}),
        "carrier": uplink.carrier,
        "metered": metered is not None and {key: f"{format_size(size)}/month" for key, size in asdict(metered).items()},
        **({} if uplink.targets is None else {"targets": [target.url for target in uplink.targets]}),
        **({"delegated": list(uplink.delegated)} if uplink.delegated else {}),
        **({} if uplink.dns is None else {"dns": list(uplink.dns)}),
    }


def written_modem(modem: Modem) -> dict[str, Any]:
    dial = modem.dial
    texts = {key: getattr(modem, key) for key in ("imei", "device", "serial", "iccid", "pin")}
    texts |= {key: getattr(dial, key) for key in ("apn", "user", "password")}
    return {
        **{key: text for key, text in texts.items() if text},
        "slot": modem.slot,
        "roaming": str(modem.roaming),
        "ip": "ipv4v6" if len(dial.families) > 1 else str(dial.families[0]),
        "connect": str(modem.connect),
    }


@unhurried
@given(configs(), st.booleans())
@example(Config(targets=DEFAULT_TARGETS), True)
def test_a_tree_survives_yaml(config: Config, flow: bool) -> None:
    text = yaml.safe_dump(written(config), allow_unicode=True, default_flow_style=flow)
    assert parse(text, "f.yaml")[0] == config


@unhurried
@given(URLS)
def test_canonical_urls_are_stable(url: str) -> None:
    target: Target = parse_target(url)
    assert parse_target(target.url) == target


@unhurried
@given(st.integers(1, 10**8))
def test_durations_and_sizes_are_read_as_written(number: int) -> None:
    assert parse_duration(format_duration(number / 1000)) == number / 1000
    assert parse_size(format_size(number)) == number


# --- noise -----------------------------------------------------------------------------------------------------------


def check(data: bytes) -> None:
    """Reads the bytes; whatever is found lies within them, in lines that can be printed."""
    try:
        _, found = parse(decode(data, "f.yaml"), "f.yaml")
    except ConfigError as error:
        found = error.problems
        assert found
    last = len(re.split("\r\n|[\n\r\x85\u2028\u2029]", data.decode("utf-8-sig", "replace")))
    for problem in found:
        assert 1 <= problem.line <= last
        assert str(problem).isprintable()


@unhurried
@given(st.binary(max_size=300))
@example(b"")
@example(b"\xff\xfe")
@example(b"a\n\xff")
@example(b"\xef\xbb\xbf")
@example(b'"\\uD800": "\\UFFFFFFFF"')
def test_bytes(data: bytes) -> None:
    check(data)


@unhurried
@given(st.text(alphabet=st.sampled_from("abn:-?,[]{}&*!|>'\"%@`#~<. \t\n\r\\\u2028019"), max_size=200))
def test_punctuation(text: str) -> None:
    check(text.encode())


@unhurried
@given(st.data())
def test_a_corpus_file_with_a_piece_of_another(data: st.DataObject) -> None:
    """A slice of one file, or noise, over a slice of another."""
    host = data.draw(st.sampled_from(CORPUS).filter(lambda content: len(content) < 3000))
    guest = data.draw(st.sampled_from(CORPUS).filter(lambda content: len(content) < 3000) | st.binary(max_size=10))
    start, end = (data.draw(st.integers(0, len(host))) for _ in range(2))
    first, last = (data.draw(st.integers(0, len(guest))) for _ in range(2))
    check(host[:start] + guest[first:last] + host[end:])


@unhurried
@given(st.text(max_size=60) | URLS.flatmap(lambda url: st.integers(0, len(url)).map(lambda n: url[:n] + url[n + 1 :])))
@example("http://[")
@example("tcp://1.1.1.1:²")
@example("icmp://①.1.1.1")
def test_a_text_is_a_target_or_a_wrong_value(text: str) -> None:
    hint = ""
    target: Target | None
    try:
        target = parse_target(text)
    except WrongValueError as error:
        target, hint = None, error.hint
    if target is None:
        assert hint
    else:
        assert parse_target(target.url) == target
