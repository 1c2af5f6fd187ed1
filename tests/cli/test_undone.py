"""What `cleanup` says it did."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from failover.cli.undone import Undone
from failover.facts import Operation, OperationResult, Route, RouteKind, Rule, RuleAction, Sysctl, Table, Verb
from failover.model import Family, KernelError
from failover.names.backend import NamesError

V4 = Family.IPV4


def undone(*items: Route | Rule | Sysctl | Table, error: str | None = None) -> Undone:
    found = Undone()
    verbs = [Verb.SET if isinstance(item, Sysctl) else Verb.DELETE for item in items]
    found.extend(OperationResult(Operation(verb, item), error) for verb, item in zip(verbs, items, strict=True))
    return found


def test_every_line_tells_one_thing_from_another() -> None:
    items = (
        Route(V4, 15500, 1, interface=1, gateway="192.0.2.1"),
        Route(V4, 15500, 1, interface=1, gateway="192.0.2.2"),
        Route(V4, 15500, 1, interface=4_000_000),
        Route(V4, 15501, 4294967295, RouteKind.UNREACHABLE, interface=1),
        Rule(V4, 15510, table=254, suppress_prefix_length=0),
        Rule(V4, 15520, table=15501, source="192.0.2.7/32"),
        Rule(V4, 15520, table=15502, source="192.0.2.8/32"),
        Rule(V4, 15530, table=15501, fwmark=0x1000000, fwmask=0x3F000000),
        Rule(V4, 15540, RuleAction.PROHIBIT, destination="10.0.0.0/8", invert=True, oif="wg0"),
        Rule(V4, 15580, table=15500, iif="lo"),
        Sysctl("net/ipv4/conf/wwan0/rp_filter", "1"),
        Table("inet", "failover"),
    )
    assert list(undone(*items).lines()) == [
        "delete ipv4 default route, metric 1, table 15500, via 192.0.2.1 dev lo",
        "delete ipv4 default route, metric 1, table 15500, via 192.0.2.2 dev lo",
        "delete ipv4 default route, metric 1, table 15500, dev number 4000000",
        "delete ipv4 unreachable default route, metric 4294967295, table 15501",
        "delete ipv4 rule 15510, lookup 254 suppress_prefixlength 0",
        "delete ipv4 rule 15520, from 192.0.2.7/32 lookup 15501",
        "delete ipv4 rule 15520, from 192.0.2.8/32 lookup 15502",
        "delete ipv4 rule 15530, fwmark 0x1000000/0x3f000000 lookup 15501",
        "delete ipv4 rule 15540, not to 10.0.0.0/8 oif wg0 prohibit",
        "delete ipv4 rule 15580, iif lo lookup 15500",
        "set sysctl net/ipv4/conf/wwan0/rp_filter = 1",
        "delete nftables table inet failover",
        "12 removed or put back",
    ]


def test_what_was_not_done_is_counted_and_said() -> None:
    found = undone(Rule(V4, 15580, table=15500, iif="lo"), error="Operation not permitted")
    found.extend([KernelError("the state file is corrupt", "delete it")])
    assert list(found.lines()) == [
        "delete ipv4 rule 15580, iif lo lookup 15500: Operation not permitted",
        "0 removed or put back, 2 not",
    ]
    document = found.document()
    assert (document["ok"], document["done_count"], document["failed_count"]) == (False, 0, 2)
    assert document["errors"] == [{"error": "the state file is corrupt", "hint": "delete it"}]


def test_what_was_put_back_of_the_box_s_resolver_is_said() -> None:
    found = Undone()
    found.extend(["name servers of wwan0: 10.1.0.53", NamesError("systemd-resolved is not running", "start it")])
    assert list(found.lines()) == ["name servers of wwan0: 10.1.0.53", "1 removed or put back, 1 not"]
    assert found.document()["operations"] == [
        {"operation": "set", "object": "name-servers", "text": "name servers of wwan0: 10.1.0.53", "error": None}
    ]
    assert found.document()["errors"] == [{"error": "systemd-resolved is not running", "hint": "start it"}]


def test_a_hostile_name_is_cleaned() -> None:
    (line, _) = undone(Rule(V4, 15540, table=254, iif="\x1b[31m\n", oif="[red]")).lines()
    assert line == "delete ipv4 rule 15540, iif ?[31m? oif [red] lookup 254"


ORDINARY = """
import os, sys
import failover.agent, failover.cleanup, failover.cli.undone, failover.cli.local
from failover.cli import main
from failover.cli.grammar import build_parser
build_parser()  # afterwards, this user may read no module any more
os.setuid(54321)
sys.exit(main(["cleanup"]))
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become somebody else")
def test_whoever_may_not_clean_up_is_told_just_that() -> None:
    done = subprocess.run([sys.executable, "-c", ORDINARY], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == ("failover: no permission to clean up: CAP_NET_ADMIN and CAP_NET_RAW missing (run as root)\n")
