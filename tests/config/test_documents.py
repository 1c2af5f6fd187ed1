"""config/failover.yaml, config/examples/ and config/README.md say what the code does."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from failover.cli import main
from failover.config import Config, ConfigError, Metered, Uplink
from failover.config.manual import TABLES, rewritten
from failover.config.modems import Modem
from failover.config.reading import SECTIONS, load_with_warnings, parse
from failover.config.rules import describe_aim, describe_match
from failover.config.targets import parse_target
from failover.facts import Gateway
from failover.modem import Dial

HERE = Path(__file__).resolve().parents[2] / "config"
REFERENCE = HERE / "failover.yaml"
README = (HERE / "README.md").read_text()
EXAMPLES = sorted((HERE / "examples").glob("*.yaml"))
KEYS = {f"{section}.{key}".removeprefix("."): key_ for section, keys in SECTIONS.items() for key, key_ in keys.items()}
BOUNDED = [name for name, key in KEYS.items() if re.fullmatch(r"\S+ to \S+", key.bounds)]


def with_uplinks() -> str:
    """The reference with all that is commented out in force."""
    text = REFERENCE.read_text()
    for key in ("# uplinks:", "# rules:", "# gateway:"):
        block = text[text.index(key) :].split("\n\n")[0]
        text = text.replace(block, re.sub("^# ", "", block, flags=re.MULTILINE))
    return text


def paths(tree: Any, path: str = "") -> Iterator[str]:
    """The path of every key, as `uplinks[].name`."""
    if isinstance(tree, dict):
        for key, value in tree.items():
            yield f"{path}.{key}".removeprefix(".")
            yield from paths(value, f"{path}.{key}".removeprefix("."))
    elif isinstance(tree, list):
        for value in tree:
            yield from paths(value, f"{path}[]")


# --- the reference ---------------------------------------------------------------------------------------------------


def test_the_reference_is_the_default() -> None:
    assert load_with_warnings(REFERENCE) == (Config(), ())


def test_the_reference_names_every_key_that_has_a_default_in_force_and_every_other_in_a_comment() -> None:
    named = {name for name in KEYS if name.startswith(("uplinks", "rules", "gateway"))}
    assert set(paths(yaml.safe_load(REFERENCE.read_text()))) == set(KEYS) - named
    assert set(paths(yaml.safe_load(with_uplinks()))) == set(KEYS)


@pytest.mark.parametrize("name", sorted(KEYS))
def test_the_reference_says_what_each_key_is_for(name: str) -> None:
    key = re.escape(name.rpartition(".")[2])
    assert re.search(rf"^#? *(- )?{key}:.*# \S|^# --- {key}: \S", REFERENCE.read_text(), re.MULTILINE)


def test_the_reference_s_uplinks_load() -> None:
    config, warnings = parse(with_uplinks(), "reference")
    assert config.uplinks == (
        Uplink("au", "wwan0", "KDDI", Metered()),
        Uplink(
            "docomo",
            "wwan1",
            "",
            Metered(30_000_000, 2_000_000),
            (parse_target("icmp://10.1.1.1"), parse_target("icmp://10.1.1.2")),
            ("2001:db8:100::/40",),
        ),
        Uplink("depot", "wlan0", dns=("192.168.1.1",)),
        Uplink(
            "povo",
            metered=Metered(),
            modem=Modem(
                imei="490154203237518",
                slot=2,
                iccid="8981100000000000018",
                dial=Dial("povo.jp", "au@au-net.ne.jp", "au"),
                pin="0123",
            ),
        ),
        Uplink("roof", metered=Metered(), modem=Modem(device="usb1/1-2", dial=Dial("internet"))),
        Uplink("trailer", metered=Metered(), modem=Modem(serial="0123456789ABCDEF", dial=Dial("internet"))),
    )
    assert [w.message for w in warnings] == ["no IPv6 target"]
    assert config.gateway == Gateway(("br-lan",))
    assert [(rule.name, describe_match(rule.match), describe_aim(rule.aim)) for rule in config.rules] == [
        ("terminal", "to 198.51.100.0/24, protocol tcp, port 443 or 5000-5100", "prefers docomo"),
        ("video", "uid 1000, DSCP 34", "only depot, else held"),
        ("guests", "from 192.168.50.0/24, in by br-lan", "never metered, else refused"),
    ]


# --- the examples ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_gives_no_warning_but_those_it_explains(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(path)]) == 0
    said = capsys.readouterr()
    assert said.err == ""
    first, *rest = said.out.splitlines()
    assert first == f"{path}: fine"
    assert [line for line in rest if line.startswith("uplink ")]
    comments = " ".join(re.findall("# (.*)", path.read_text()))
    warnings = [warning.message for warning in load_with_warnings(path)[1]]
    assert len(warnings) == comments.count("`check` warns")
    assert all(warning in comments for warning in warnings)


def test_there_is_an_example_for_each_of_the_usual_boxes() -> None:
    assert [path.stem for path in EXAMPLES] == ["dual-sim", "esim", "gateway", "hub", "two-modems", "van"]
    assert all(f"(examples/{path.name})" in README for path in EXAMPLES)


# --- the README ------------------------------------------------------------------------------------------------------


def test_the_readme_s_tables_are_as_generated() -> None:
    assert rewritten(README) == README
    assert all(
        f"<!-- made by failover.config.manual: {name} -->\n\n{table()}" in README for name, table in TABLES.items()
    )


def test_a_table_that_is_out_of_date_is_made_anew() -> None:
    stale = README.replace("`350ms`", "`9s`").replace("| 500ms |", "| 9s |")
    assert stale != README
    assert rewritten(stale) == README


@pytest.mark.parametrize("name", BOUNDED)
def test_the_bounds_said_are_the_bounds(name: str) -> None:
    section, _, key = name.rpartition(".")
    low, _, high = KEYS[name].bounds.partition(" to ")
    unit = re.sub("[0-9.]", "", low)
    beyond = (
        f"{section}: {{{key}: {{}}}}"
        if "[]" not in section
        else f"uplinks: [{{name: a, interface: b, {section.rpartition('.')[2]}: {{{key}: {{}}}}}}]"
    )
    for value in (f"0{unit}", f"999999999{unit}"):
        with pytest.raises(ConfigError) as caught:
            parse(beyond.replace("{}", value), "f")
        assert [problem.mend for problem in caught.value.problems] == [f"from {low} to {high}"]


@pytest.mark.parametrize("name", [name for name, key in KEYS.items() if re.match(r"`\S+`", key.default)])
def test_the_defaults_said_are_the_defaults(name: str) -> None:
    section, _, key = name.rpartition(".")
    written = f"{key}: {KEYS[name].default.split('`')[1]}"
    if section == "uplinks[].metered":
        told = parse(f"uplinks: [{{name: a, interface: b, metered: {{{written}}}}}]", "f")[0].uplinks
        assert told == (Uplink("a", "b", metered=Metered()),)
    elif section == "uplinks[].modem":
        told = parse(f"uplinks: [{{name: a, modem: {{serial: s, {written}}}}}]", "f")[0].uplinks
        assert told == (Uplink("a", modem=Modem(serial="s")),)
    elif section.startswith("uplinks"):
        assert parse(f"uplinks: [{{name: a, interface: b, {written}}}]", "f")[0].uplinks == (Uplink("a", "b"),)
    elif section == "gateway":
        assert parse(f"gateway: {{lan: br-lan, {written}}}", "f")[0].gateway == Gateway(("br-lan",))
    else:
        assert parse(f"{section}: {{{written}}}" if section else written, "f") == (Config(), ())
