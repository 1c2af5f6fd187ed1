"""Changes: what is done, what is refused, and that nothing foreign can be hit."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from failover.facts import Operation, Route, RouteKind, Rule, RuleAction, Sysctl, Verb
from failover.kernel import Kernel, Ledger
from failover.model import FAMILIES, Family, KernelError

from .box import NAMES, V4, V6, WAN0, WAN1, Box, add, apply, default, floor, layout, ours, sysctl

LINKDOWN = "net/ipv4/conf/wan0/ignore_routes_with_linkdown"


def test_replace_is_a_switch_and_creates_what_is_missing(box: Box, kernel: Kernel) -> None:
    for family in FAMILIES:
        for index in (WAN0, WAN1):
            assert apply(kernel, Verb.REPLACE, default(family, 15500, index)) == [None]
            assert [r.interface for r in kernel.read().routes if r.family is family] == [index]


def test_replace_by_a_way_without_gateway_and_back(box: Box, kernel: Kernel) -> None:
    for family in FAMILIES:
        for route in (
            default(family, 15500, WAN0),
            Route(family, 15500, 1, interface=WAN1),
            default(family, 15500, WAN0),
            Route(family, 15500, 1, RouteKind.UNREACHABLE),
        ):
            assert apply(kernel, Verb.REPLACE, route) == [None]
            assert [told for told in kernel.read().routes if told.family is family] == [route]


def test_add_does_not_write_over_what_is_there(box: Box, kernel: Kernel) -> None:
    for family in FAMILIES:
        box.ip(f"-{family[-1]} route add unreachable default metric 1 table 15500 proto static")
        assert apply(kernel, Verb.ADD, default(family, 15500, WAN0)) == ["File exists"]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_deletion_hits_exactly_the_route_that_is_named(box: Box, kernel: Kernel, family: Family) -> None:
    """Same table, same metric, same device: whoever else's stays, by protocol, gateway, metric or kind."""
    gateway = {V4: "10.10.0.1", V6: "fd10::1"}[family]
    others = [
        f"route append default via {gateway} dev wan0 table 15500 metric 1 proto static",
        f"route append default via {gateway}9 dev wan0 table 15500 metric 3 proto 155",
        f"route append default via {gateway} dev wan0 table 15500 metric 2 proto 155",
        "route append unreachable default table 15500 metric 5 proto static",
        f"route append default via {gateway} dev wan0 metric 1 proto 155",
    ]
    for line in others:
        box.ip(f"-{family[-1]} {line}")
    before = kernel.read().routes
    wanted = default(family, 15501, WAN0)
    add(kernel, wanted)
    assert apply(kernel, Verb.DELETE, wanted) == [None]
    for absent in (
        default(family, 15500, WAN0),
        default(family, 15500, WAN0, 3),
        default(family, 15500, WAN1, 2),
        default(family, 15500, WAN0, 4),
        replace(default(family, 15500, WAN0), interface=4242),
        Route(family, 15500, 5, RouteKind.UNREACHABLE),
    ):
        assert apply(kernel, Verb.DELETE, absent) == [None], "what is gone already is no error"
    assert kernel.read().routes == before


def test_what_is_not_ours_is_refused_unsent(box: Box, kernel: Kernel) -> None:
    box.ip("route add default via 10.10.0.1 metric 1")
    box.ip("rule add prohibit pref 20000 fwmark 1")
    before = kernel.read()
    foreign: list[Route | Rule] = [
        default(V4, 254, WAN0),
        default(V4, 15499, WAN0),
        default(V4, 15600, WAN0),
        default(V4, 15500, WAN0, protocol=3),
        Rule(V4, 20000, RuleAction.PROHIBIT, fwmark=1),
        Rule(V4, 15550, RuleAction.PROHIBIT, fwmark=1, protocol=0),
    ]
    for verb in (Verb.ADD, Verb.REPLACE, Verb.DELETE):
        errors = apply(kernel, verb, *foreign)
        assert all(error is not None and error.startswith("not ours") for error in errors)
    assert kernel.read() == before


def test_everything_of_ours_goes_and_nothing_else(box: Box, kernel: Kernel) -> None:
    for line in (
        "route add default via 10.10.0.1 table 15500 metric 77 proto static",
        "route add default via 10.10.0.1 metric 1 proto 155",
        "rule add from 10.10.0.2 pref 15510 lookup 15501",
        "rule add fwmark 1 pref 9999 lookup 15501 protocol 155",
    ):
        box.ip(line)
    before = kernel.read()
    for family in FAMILIES:
        add(kernel, *layout(family))
    made = kernel.read()
    assert len(made.routes) == len(before.routes) + 20, "two cables, two families, five tables' worth"
    rules = [rule for rule in made.rules if rule.protocol == 155 and rule.priority != 9999]
    assert apply(kernel, Verb.DELETE, *rules, *(r for r in ours(made) if r.table != 254)) == [None] * 34
    assert kernel.read() == before


def test_one_failure_does_not_stop_the_others(box: Box, kernel: Kernel) -> None:
    results = apply(
        kernel,
        Verb.ADD,
        replace(default(V4, 15500, WAN0), interface=4242),
        replace(default(V4, 15500, WAN0), gateway="8.8.8.8"),
        replace(default(V4, 15500, WAN0), gateway="nonsense"),
        replace(default(V6, 15500, WAN0), gateway="10.10.0.1"),
        replace(default(V4, 15500, WAN0), source="192.0.2.77"),
        replace(default(V4, 15500, WAN0), metric=1 << 32),
        replace(default(V4, 15500, WAN0), metric=-1),
        Rule(V4, 15550, source="10.0.0.0/33"),
        Rule(V4, 15550, source="10.0.0.0"),
        Rule(V4, 15550, tos=1000),
        default(V4, 15500, WAN0),
    )
    assert results == [
        "Network is unreachable: Nexthop has invalid gateway",
        "Network is unreachable: Nexthop has invalid gateway",
        "not an ipv4 address: nonsense",
        "an IPv6 route cannot have the IPv4 gateway 10.10.0.1",
        "Invalid argument: Invalid prefsrc address",
        "a number that does not fit",
        "a number that does not fit",
        "not an ipv4 prefix: 10.0.0.0/33",
        "not an ipv4 prefix: 10.0.0.0",
        "a number that does not fit",
        None,
    ]


@pytest.mark.parametrize(
    "operation",
    [
        Operation(Verb.SET, floor(V4, 15500)),
        Operation(Verb.REPLACE, Rule(V4, 15500, table=254)),
        Operation(Verb.ADD, Sysctl(LINKDOWN, "1")),
        Operation(Verb.DELETE, Sysctl(LINKDOWN, "1")),
    ],
)
def test_verbs_that_do_not_fit(kernel: Kernel, operation: Operation) -> None:
    (result,) = kernel.apply([operation])
    assert result.error is not None
    assert "cannot be changed by" in result.error


# --- sysctls ---------------------------------------------------------------------------------------------------------


def set_sysctl(kernel: Kernel, path: str, value: str) -> str | None:
    return kernel.apply([Operation(Verb.SET, Sysctl(path, value))])[0].error


def test_a_sysctl_is_noted_set_and_put_back(box: Box, kernel: Kernel, ledger: Ledger) -> None:
    assert set_sysctl(kernel, LINKDOWN, "1") is None
    assert sysctl(box, LINKDOWN) == "1"
    assert [(change.path, change.old, change.new) for change in ledger.changes()] == [(LINKDOWN, "0", "1")]
    (result,) = ledger.restore()
    assert result.error is None
    assert sysctl(box, LINKDOWN) == "0"
    assert ledger.changes() == ()


def test_one_write_notes_a_batch_before_the_first_of_it_is_set(
    box: Box, kernel: Kernel, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many there are, the file and its folder are waited for once."""
    paths = [f"net/{family}/conf/{name}/ignore_routes_with_linkdown" for family in FAMILIES for name in NAMES.values()]
    seen = list[list[str]]()

    def watched(sync: Callable[[int], None], descriptor: int) -> None:
        sync(descriptor)
        seen.append([sysctl(box, path) for path in paths])

    for name in ("fdatasync", "fsync"):
        monkeypatch.setattr(os, name, partial(watched, getattr(os, name)))
    results = kernel.apply(Operation(Verb.SET, Sysctl(path, "1")) for path in paths)
    assert [result.error for result in results] == [None] * len(paths)
    assert seen == [["0"] * len(paths)] * 2
    assert {change.path for change in ledger.changes()} == set(paths)
    assert {sysctl(box, path) for path in paths} == {"1"}


def test_one_of_a_batch_that_fails_stops_none_of_the_others(box: Box, kernel: Kernel, ledger: Ledger) -> None:
    box.van.sysctl("ipv4/conf/wan1/ignore_routes_with_linkdown", 1)
    wanted = {
        LINKDOWN.replace("wan0", "all"): "not a sysctl of a device: net/ipv4/conf/all/ignore_routes_with_linkdown",
        LINKDOWN.replace("wan0", "wan9"): "no such sysctl: net/ipv4/conf/wan9/ignore_routes_with_linkdown",
        LINKDOWN.replace("wan0", "wan1"): None,
        LINKDOWN: None,
    }
    operations = [Operation(Verb.SET, Sysctl(path, "1")) for path in wanted]
    rule = Operation(Verb.ADD, Rule(V4, 15590, table=15590))
    results = kernel.apply([*operations, rule])
    assert [result.operation for result in results] == [*operations, rule]
    assert [result.error for result in results] == [*wanted.values(), None]
    assert [change.path for change in ledger.changes()] == [LINKDOWN]
    assert sysctl(box, LINKDOWN) == "1"


def test_what_was_put_back_is_told_even_when_the_file_stays(box: Box, kernel: Kernel, ledger: Ledger) -> None:
    assert set_sysctl(kernel, LINKDOWN, "1") is None
    restored = ledger.restore()
    assert next(restored).operation == Operation(Verb.SET, Sysctl(LINKDOWN, "0"))
    ledger.path.unlink()
    ledger.path.mkdir()
    with pytest.raises(KernelError, match="cannot be used"):
        next(restored)
    assert sysctl(box, LINKDOWN) == "0"


def test_a_value_that_was_there_is_not_ours(box: Box, kernel: Kernel, ledger: Ledger) -> None:
    box.van.sysctl(LINKDOWN.removeprefix("net/"), 1)
    assert set_sysctl(kernel, LINKDOWN, "1") is None
    assert ledger.changes() == ()
    assert list(ledger.restore()) == []
    assert sysctl(box, LINKDOWN) == "1"


def test_a_value_that_somebody_changed_since_is_left(box: Box, kernel: Kernel, ledger: Ledger) -> None:
    path = "net/ipv4/conf/wan0/rp_filter"
    assert set_sysctl(kernel, path, "2") is None
    box.van.sysctl("ipv4/conf/wan0/rp_filter", 0)
    assert list(ledger.restore()) == []
    assert sysctl(box, path) == "0"
    assert ledger.changes() == ()


def test_the_value_before_ours_is_that_of_the_last_other_hand(box: Box, kernel: Kernel, ledger: Ledger) -> None:
    path = "net/ipv4/conf/wan0/rp_filter"
    assert set_sysctl(kernel, path, "2") is None
    box.van.sysctl("ipv4/conf/wan0/rp_filter", 0)
    assert set_sysctl(kernel, path, "2") is None
    assert [result.error for result in ledger.restore()] == [None]
    assert sysctl(box, path) == "0"


def test_a_value_other_than_zero_is_noted_and_put_back(box: Box, kernel: Kernel, ledger: Ledger) -> None:
    path = "net/ipv4/conf/wan0/rp_filter"
    assert sysctl(box, path) == "1"
    assert set_sysctl(kernel, path, "2") is None
    assert sysctl(box, path) == "2"
    assert [(change.path, change.old, change.new) for change in ledger.changes()] == [(path, "1", "2")]
    assert [result.error for result in ledger.restore()] == [None]
    assert sysctl(box, path) == "1"


def test_a_device_that_went_is_forgotten(box: Box, kernel: Kernel, ledger: Ledger) -> None:
    assert set_sysctl(kernel, LINKDOWN, "1") is None
    box.ip("link del wan0")
    assert list(ledger.restore()) == []
    assert ledger.changes() == ()
    assert set_sysctl(kernel, LINKDOWN, "1") == f"no such sysctl: {LINKDOWN}"


@pytest.mark.parametrize(
    "path",
    [
        "net/ipv4/conf/all/rp_filter",
        "net/ipv6/conf/default/hop_limit",
        "net/ipv4/conf/../ip_forward",
        "net/ipv4/conf/./rp_filter",
        "net/ipv4/conf/wan0/../../ip_forward",
        "net/ipv4/ip_forward",
        "kernel/hostname",
        "/net/ipv4/conf/wan0/rp_filter",
        "net/ipv4/conf/wan0/rp_filter/",
        "net/ipv4/conf/wan0/rp_filter\0",
        "",
    ],
)
def test_paths_that_are_no_sysctl_of_a_device(kernel: Kernel, path: str) -> None:
    error = set_sysctl(kernel, path, "1")
    assert error is not None
    assert error.startswith("not a sysctl of a device")


def test_a_device_name_with_dots(box: Box, kernel: Kernel) -> None:
    box.ip("link add name wan0.100 type veth peer name ...")
    for name in ("wan0.100", "..."):
        assert set_sysctl(kernel, f"net/ipv4/conf/{name}/rp_filter", "2") is None
        assert sysctl(box, f"net/ipv4/conf/{name}/rp_filter") == "2"


def test_a_value_that_the_kernel_refuses(box: Box, kernel: Kernel) -> None:
    assert set_sysctl(kernel, LINKDOWN, "many") == "Invalid argument"
    assert set_sysctl(kernel, LINKDOWN, "vielé") == "not a value"


@pytest.mark.parametrize("content", ["{", "[]", '{"version": 2}', '{"version": 1, "boot": "x", "sysctls": {"a": 1}}'])
def test_a_corrupt_state_file_is_said_and_the_sysctl_left(
    box: Box, kernel: Kernel, ledger: Ledger, content: str
) -> None:
    ledger.path.write_text(content)
    assert set_sysctl(kernel, LINKDOWN, "1") == f"the state file {ledger.path} is corrupt"
    assert sysctl(box, LINKDOWN) == "0"
    assert ledger.path.read_text() == content
    with pytest.raises(KernelError, match="corrupt"):
        list(ledger.restore())


def test_an_unwritable_state_file_is_said_and_the_sysctl_left(box: Box, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with box.van.entered():
        kernel = Kernel(Ledger(tmp_path / "file" / "state.json"))
        try:
            error = set_sysctl(kernel, LINKDOWN, "1")
        finally:
            kernel.close()
    assert error == f"the state file {tmp_path}/file/state.json cannot be used: Not a directory"
    assert sysctl(box, LINKDOWN) == "0"


def test_no_state_file_no_sysctl(box: Box) -> None:
    with box.van.entered():
        kernel = Kernel()
        try:
            assert set_sysctl(kernel, LINKDOWN, "1") == f"{LINKDOWN} is left alone: no state file"
            assert sysctl(box, LINKDOWN) == "0"
        finally:
            kernel.close()
