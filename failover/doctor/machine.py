"""Checks of the machine and of what the agent would be started with: config, rights, open files, clock, kernel."""

from __future__ import annotations

import json
import os
import resource
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Final

from failover.config import Problem
from failover.config.source import is_missing
from failover.doctor.case import Case
from failover.doctor.finding import Remarks, failure, note, ok, warning
from failover.export.instance import DESCRIPTORS_MIN, DESCRIPTORS_WANTED, few_descriptors, missing_capabilities
from failover.kernel.clock import wall_clock_trusted

AS_ROOT: Final = "run it as root: sudo failover doctor"
TRIAL_SECONDS: Final = 10.0
PACKAGE_PARENT: Final = str(Path(__file__).resolve().parents[2])


def config(case: Case) -> Remarks:
    """The file: every problem, every doubt."""
    if case.hidden:
        yield note("this user may not read it, so the other checks go by the defaults", AS_ROOT)
        return
    for problem in case.problems:
        yield failure(*_told(problem))
    if case.problems:
        yield note("the other checks go by the defaults")
    for doubt in case.doubts:
        yield warning(*_told(doubt))
    if not (case.problems or case.doubts):
        yield ok(_fitness(case))


def _fitness(case: Case) -> str:
    """Of a file that is fine, which is no news of what is in force."""
    if case.refused is not None:
        return "the file as it is now can be used"
    if is_missing(case.path):
        return case.config_text
    if not case.runs:
        return f"{case.path} is fine; it is not in force, as no agent runs"
    if case.read is not None and case.read.resolve() != case.path.resolve():
        return f"{case.path} is fine; it is not in force, as the agent reads {case.read}"
    return case.config_text


def _told(problem: Problem) -> tuple[str, str]:
    """What is wrong and where; the mend."""
    return str(replace(problem, mend="")), problem.mend or "`failover check` reads it again; see config/README.md"


def capabilities(case: Case) -> Remarks:
    """Whether an agent started from here may do its work; one that runs has shown that it may."""
    if case.runs or not no_right():
        return
    beyond = missing_capabilities("CapBnd")
    if beyond:
        mend = "give them to the container or the unit: --cap-add, CapabilityBoundingSet="
        yield failure(f"nobody here can have {' and '.join(beyond)}, not even root", mend)
    elif os.geteuid() == 0:
        mend = "run the agent outside of the container, or give that more: --cap-add, a network of its own"
        yield failure(f"root may not probe here: {no_right()}", mend)
    else:
        yield note("this user lacks them, so it cannot be said whether the service has them", AS_ROOT)


def no_right() -> str:
    """Why this process may not probe; empty when it may."""
    missing = missing_capabilities()
    if missing:
        return f"{' and '.join(missing)} missing"
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP):
            return ""
    except PermissionError:  # root of a user namespace to which this network does not belong
        return "it has CAP_NET_RAW, but not over this network"


def open_files(case: Case) -> Remarks:
    """The agent's limit, or the greatest that this process could give to one."""
    limit = _limit_of(case.pid) if case.pid else resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if limit is None or not 0 <= limit < DESCRIPTORS_WANTED:  # -1 is RLIM_INFINITY
        return
    few = few_descriptors(limit)
    if limit < DESCRIPTORS_MIN:
        yield failure(str(few), few.hint)
    else:
        yield note(f"{limit} open files are allowed: enough, unless many probes and clients meet", few.hint)


def _limit_of(pid: int) -> int | None:
    """The soft limit of another process (proc(5)); None when it is not told, or has gone."""
    try:
        rows = Path(f"/proc/{pid}/limits").read_text().splitlines()
    except OSError:
        return None
    told = next((row.split()[3] for row in rows if row.startswith("Max open files")), "")
    return int(told) if told.isdecimal() else None


def clock(_case: Case) -> Remarks:
    """Until the wall clock is set, no certificate is judged by its dates."""
    if not wall_clock_trusted():
        text = "nothing keeps the wall clock right: no certificate is judged by its dates, and the times in logs may be"
        yield warning(f"{text} wrong", "run chrony or systemd-timesyncd")


def features(case: Case) -> Remarks:
    """All that the agent needs of the kernel, tried in an empty network namespace (`trial.py`)."""
    argv = [sys.executable, "-P", "-m", "failover.doctor.trial"]
    environment = os.environ | {"PYTHONPATH": PACKAGE_PARENT}
    try:
        done = subprocess.run(argv, env=environment, capture_output=True, timeout=TRIAL_SECONDS, check=True)
        outcome = json.loads(done.stdout)
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        yield note(f"could not be tried: {error}", AS_ROOT)
        return
    if outcome["untried"]:
        yield note(f"could not be tried: {outcome['untried']}", AS_ROOT)
    if not outcome["ipv6"]:
        yield note("this kernel has no IPv6: that family is not judged", "load its module `ipv6`, if that is not meant")
    for refusal in outcome["refused"]:
        mend = "it needs IP_MULTIPLE_TABLES, IPV6_MULTIPLE_TABLES and FIB_RULES, of Linux 4.20 or newer"
        yield failure(f"the kernel refuses {refusal}", mend)
    if outcome["uncounted"]:
        why, mend = outcome["uncounted"]
        yield warning(f"flows cannot be counted, only interfaces, which makes detection weaker: {why}", mend)
    elif outcome["unforwarded"] and case.config.gateway:
        why, mend = outcome["unforwarded"]
        yield failure(
            f"the box can be no gateway: {why}", f"{mend}; a gateway needs Linux 5.11, nft_masq and nft_reject_inet"
        )
