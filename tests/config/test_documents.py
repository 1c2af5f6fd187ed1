"""config/failover.yaml and config/README.md say what the code does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from failover.config import PROFILES, Config, ConfigError, Metered, Uplink
from failover.config.reading import SECTIONS, load_with_warnings, parse
from failover.config.targets import parse_target
from failover.config.values import format_duration

HERE = Path(__file__).resolve().parents[2] / "config"
EXAMPLE = HERE / "failover.yaml"
README = (HERE / "README.md").read_text()
ROWS = [[cell.strip() for cell in line.split("|")[1:-1]] for line in README.splitlines() if line.startswith("| `")]
KEYS = {row[0].strip("`"): row for row in ROWS if "://" not in row[0]}


def test_the_example_is_the_default() -> None:
    assert load_with_warnings(EXAMPLE) == (Config(), ())


def test_the_example_names_every_key_that_has_a_default() -> None:
    tree = yaml.safe_load(EXAMPLE.read_text())
    for section in ("", "probes", "detection", "policy", "metrics", "kernel"):
        named = set(tree[section] if section else tree)
        assert named == set(SECTIONS[section]) - {"uplinks"}


def test_the_example_s_uplinks_load() -> None:
    first = EXAMPLE.read_text().index("# uplinks:")
    block = EXAMPLE.read_text()[first:].split("\n\n")[0]
    config, warnings = parse(re.sub("^# ", "", block, flags=re.MULTILINE), "example")
    assert config.uplinks == (
        Uplink("au", "wwan0", "au", Metered(30_000_000)),
        Uplink("docomo", "wwan1", "", Metered(), (parse_target("icmp://10.1.1.1"), parse_target("icmp://10.1.1.2"))),
        Uplink("depot", "wlan0"),
    )
    assert [w.message for w in warnings] == ["no budget is kept", "no IPv6 target"]


def test_the_readme_names_every_key_and_no_other() -> None:
    schema = {f"{section}.{key}".removeprefix(".") for section, keys in SECTIONS.items() for key in keys}
    assert set(KEYS) == schema


def test_the_readme_s_defaults_are_the_defaults() -> None:
    lines = []
    for section in ("detection", "policy", "metrics", "kernel"):
        rows = {key: row[2] for key, row in KEYS.items() if key.startswith(f"{section}.")}
        lines += [f"{section}:", *(f"  {key.partition('.')[2]}: {text.strip('`')}" for key, text in rows.items())]
        assert len(rows) == len(SECTIONS[section])
    assert parse("\n".join(lines), "README.md") == (Config(), ())


def test_the_readme_s_profiles_are_the_profiles() -> None:
    for name, profile in PROFILES.items():
        numbers = (profile.suspicion, profile.doubt, profile.conviction)
        assert f"`{name}` {' / '.join(format_duration(n) for n in numbers)}" in " ".join(README.split())


@pytest.mark.parametrize(
    "key", [key for key, row in KEYS.items() if re.search(r"^(duration|(whole )?number), ", row[1])]
)
def test_the_readme_s_bounds_are_the_bounds(key: str) -> None:
    section, _, name = key.partition(".")
    zero = "0s" if "duration" in KEYS[key][1] else "0"
    with pytest.raises(ConfigError) as caught:
        parse(f"{section}: {{{name}: {zero}}}", "f")
    (problem,) = caught.value.problems
    low, high = KEYS[key][1].rpartition(" ")[2].split("-")
    assert problem.mend == f"from {low} to {high}"
