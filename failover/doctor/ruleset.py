"""The nftables ruleset as nft lists it, in JSON, for the checks that look into it. Ours is left out."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from typing import Any, Final

from failover.kernel import nft

NFT_SECONDS: Final = 2.0
NFT_BYTES: Final = 16 << 20


def listed() -> list[dict[str, Any]] | str:
    """The objects of all tables but ours, without the elements of sets; or why not."""
    binary = nft.find()
    if binary is None:
        return "nft is not installed"
    argv = [binary, "--json", "--terse", "list", "ruleset"]
    try:
        done = subprocess.run(argv, capture_output=True, timeout=NFT_SECONDS, check=False)
    except (OSError, subprocess.SubprocessError) as error:
        return f"nft: {error}"
    if done.returncode or len(done.stdout) > NFT_BYTES:
        return "nft may not list the ruleset" if done.returncode else "the ruleset is too large"
    try:
        found = json.loads(done.stdout).get("nftables", [])
    except (ValueError, AttributeError):
        return "nft does not answer in JSON"
    return [item for item in found if isinstance(item, dict) and not _ours(item)] if isinstance(found, list) else []


def _ours(item: dict[str, Any]) -> bool:
    """Whether it is a part of our table."""
    return any(
        isinstance(part, dict) and (part.get("family"), part.get("table")) == (nft.TABLE.family, nft.TABLE.name)
        for part in item.values()
    )


def statements(objects: list[dict[str, Any]], kind: str) -> Iterator[tuple[str, Any]]:
    """(chain in words, statement) of that kind, in every rule."""
    for item in objects:
        rule = item.get("rule")
        if isinstance(rule, dict):
            where = " ".join(str(rule.get(key, "?")) for key in ("family", "table", "chain"))
            for statement in rule.get("expr") or ():
                if isinstance(statement, dict) and kind in statement:
                    yield f"nft chain {where}", statement[kind]
