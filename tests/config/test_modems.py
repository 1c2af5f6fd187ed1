"""What is particular to modems: numbers with check digits, patterns that stay cheap, and secrets that nobody sees."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from failover.cli import main
from failover.config import ConfigError
from failover.config.changes import changes
from failover.config.modem_values import PATTERN_MAX, WAYS_MAX, checks, parse_pattern
from failover.config.modems import MATCHED_MAX
from failover.config.reading import load, load_with_warnings, parse
from failover.config.values import WrongValueError
from failover.forecast import document

BAD = Path(__file__).parent / "bad"
PIN, PASSWORD = "98761234", "x9876-secret"
MODEM = f"""\
uplinks:
  - name: au
    carrier: povo
    modem:
      {{imei: 356938035643809, iccid: 8988211000000012345, roaming: deny, pin: {PIN}, user: u, password: {PASSWORD}}}
sms: {{patterns: {{cap: "used up"}}}}
carriers: {{povo: au}}
"""


# --- check digits ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("imei", ["490154203237518", "356938035643809", "000000000000000"])
def test_the_check_digit_of_an_imei(imei: str) -> None:
    """The first is the example of 3GPP TS 23.003, annex B."""
    assert checks(imei)
    assert not any(checks(f"{imei[:-1]}{digit}") for digit in range(10) if str(digit) != imei[-1])


@given(st.text("0123456789", min_size=15, max_size=15), st.integers(0, 14), st.integers(1, 9))
def test_one_wrong_digit_is_always_noticed(imei: str, place: int, more: int) -> None:
    slip = f"{imei[:place]}{(int(imei[place]) + more) % 10}{imei[place + 1 :]}"
    assert not (checks(imei) and checks(slip))


# --- patterns --------------------------------------------------------------------------------------------------------

DEAR = [
    "(a+)+b",
    "(?:a|a)*b",
    "(a{1,9}){9}b",
    "(?P<x>a*){2}b",
    ".*.*b",
    ".*a?b",
    "a+a+b",
    "[a]+[]a]+b",
    r"\w{1,40}\w{1,40}b",
    "a?" * 10 + "a" * 10 + "b",
    "(a|b|c|d|e)" * 5,
    "((a|b)|(c|d)|e){1,2}",
    "(?=a+)+b",
    "(?x)( a+ ) +b",
    "a{,999}a{1,}b",
]
CHEAP = [
    ".*b",
    ".{0,30}a.{0,30}b",
    "[0-9]{1,9} ?(GB|MB)",
    r"\(a\)+b",
    "[(a)]{1,3}b",
    "(利用|回線).{0,20}(停止|中断)",
    "(?i:suspend(ed)?)",
    "[^]]{1,9}]",
    r"(a)\1{1,9}b",
    "a{2}{b",
    "[a-z]{1,30}[a-z]{1,30}!",
]


@pytest.mark.parametrize("pattern", DEAR)
def test_a_pattern_that_may_take_long_is_refused(pattern: str) -> None:
    with pytest.raises(WrongValueError, match=r"repeated|too much work|verbose"):
        parse_pattern(pattern)


@pytest.mark.parametrize("pattern", CHEAP)
def test_a_pattern_that_is_taken_is_quick(pattern: str) -> None:
    """In the worst text for most of these; some 10 ms where nothing else runs."""
    assert parse_pattern(pattern) == pattern
    found = re.compile(pattern, re.IGNORECASE)
    before = time.process_time()
    assert not found.search("a" * MATCHED_MAX)
    assert time.process_time() - before < 0.2


@given(st.text(alphabet=st.sampled_from("ab(|)[]?*+{},019\\.^$:"), max_size=40))
def test_any_text_is_a_pattern_that_is_quick_or_a_wrong_value(text: str) -> None:
    try:
        parse_pattern(text)
    except WrongValueError:
        return
    before = time.process_time()
    re.search(text, "ab" * (MATCHED_MAX // 2), re.IGNORECASE)
    assert time.process_time() - before < 1.0


def test_the_bounds_of_patterns_are_the_bounds() -> None:
    assert parse_pattern("a" * PATTERN_MAX)
    assert parse_pattern(f"a{{1,{WAYS_MAX}}}b")
    for pattern in ("", "a" * (PATTERN_MAX + 1), f"a{{0,{WAYS_MAX}}}b"):
        with pytest.raises(WrongValueError):
            parse_pattern(pattern)


# --- secrets ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", sorted(BAD.glob("modem-secret*.yaml")), ids=lambda path: path.stem)
def test_no_error_shows_a_secret_that_is_wrong_or_in_the_wrong_place(path: Path) -> None:
    assert "9876" in path.read_text()
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert "9876" not in f"{caught.value} {caught.value!r}"


def test_nothing_shows_a_secret_that_is_right(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "failover.yaml"
    path.write_text(MODEM)
    config, warnings = load_with_warnings(path)
    assert [w.path for w in warnings] == ["uplinks[0].modem.user"]
    assert config.uplinks[0].modem is not None
    assert (config.uplinks[0].modem.pin, config.uplinks[0].modem.dial.password) == (PIN, PASSWORD)
    assert main(["check", str(path)]) == 0
    assert main(["check", "--json", str(path)]) == 0
    said = capsys.readouterr()
    other = parse(MODEM.replace(PIN, "1111").replace(PASSWORD, "none"), "f")[0]
    shown = "\n".join([repr(config), str(warnings), said.out, said.err, *changes(other, config)])
    assert PIN not in shown
    assert PASSWORD not in shown
    assert "…3809" in said.out
    assert not re.search("356938035643809|8988211000000012345", said.out + said.err)


# --- what it comes to ------------------------------------------------------------------------------------------------


def test_a_modem_is_told_with_what_is_done_to_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "failover.yaml"
    path.write_text(MODEM)
    assert main(["check", str(path)]) == 0
    said = capsys.readouterr().out.splitlines()
    assert "uplink 1: au on modem …3809, slot 1, SIM …2345, povo" in said
    assert "  its interface is known once the agent has found the modem" in said
    assert "sms: kept for 90 days, with their text; own patterns: 1" in said
    assert "carrier povo: on the network of au" in said
    (repair,) = (line for line in said if line.startswith("repair: "))
    assert repair.startswith("repair: reconnect, register, reset, power, slot; a reset each 10m and 6 a day at most")


def test_without_a_modem_nothing_is_said_of_repair(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "failover.yaml"
    path.write_text("uplinks: [{name: au, interface: wwan0}]\nrepair: off\nsms: {keep: none}\n")
    assert main(["check", str(path)]) == 0
    assert not re.search("^(repair|sms|carrier)", capsys.readouterr().out, re.MULTILINE)
    path.write_text("uplinks: [{name: au, interface: wwan9, modem: {serial: abc}}]\nrepair: off\nsms: {keep: none}\n")
    assert main(["check", str(path)]) == 0
    said = capsys.readouterr().out.splitlines()
    assert "uplink 1: au on modem abc, slot 1, at wwan9 unless told otherwise" in said
    assert "  there is no interface wwan9 now" in said
    assert {"repair: off", "sms: not kept"} <= set(said)


def test_the_document_has_what_everybody_may_see() -> None:
    (uplink,) = document(parse(MODEM, "f")[0], None)["uplinks"]
    assert uplink["interface"] == ""
    assert uplink["modem"] == {
        "described": "modem …3809, slot 1",
        "imei": "…3809",
        "device": "",
        "serial": "",
        "slot": 1,
        "iccid": "…2345",
        "apn": "",
        "pin": True,
        "families": ["ipv4", "ipv6"],
        "roaming": "deny",
        "connect": "auto",
    }
    assert json.dumps(uplink)
