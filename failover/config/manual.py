"""The tables of config/README.md, made from what reads the file, so that the two cannot disagree.

`python -m failover.config.manual config/README.md` puts them between the marks of that document, as they are now.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Final

from failover.config import PROFILES, Detection
from failover.config.keys import Key
from failover.config.reading import SECTIONS
from failover.config.values import format_duration

_COLUMNS: Final = ("key", "type", "unit", "bounds", "default", "meaning")
_BLOCK: Final = re.compile(r"(<!-- made by failover\.config\.manual: (?P<name>\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def keys_table() -> str:
    """Every key of the file, each below the one that holds it."""
    return _table(_COLUMNS, _rows("", ""))


def profiles_table() -> str:
    """What the detection profiles say where they differ."""
    varied = [name for name in asdict(Detection()) if name != "profile" and len({_number(p, name) for p in _ALL}) > 1]
    rows = ((f"`{p.profile}`", *(format_duration(_number(p, name)) for name in varied)) for p in _ALL)
    return _table(("profile", *varied), rows)


def rewritten(document: str) -> str:
    """The document with its tables as they are now. Raises KeyError for the mark of a table that does not exist."""
    return _BLOCK.sub(lambda block: f"{block[1]}\n{TABLES[block['name']]()}\n{block[3]}", document)


TABLES: Final[Mapping[str, Callable[[], str]]] = {"keys": keys_table, "profiles": profiles_table}
_ALL: Final = tuple(PROFILES.values())


def _number(profile: Detection, name: str) -> float:
    number: float = getattr(profile, name)
    return number


def _rows(section: str, path: str) -> Iterator[Sequence[str]]:
    for name, key in SECTIONS[section].items():
        where = f"{path}.{name}".removeprefix(".")
        yield _row(where, key)
        for inner in (where, f"{where}[]"):
            if inner in SECTIONS:
                yield from _rows(inner, inner)


def _row(where: str, key: Key) -> Sequence[str]:
    return (f"`{where}`", key.kind, key.unit, key.bounds, key.default, key.meaning)


def _table(heads: Sequence[str], rows: Iterator[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "".join(f"| {' | '.join(cell or '-' for cell in line)} |\n" for line in lines)


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        Path(argument).write_text(rewritten(Path(argument).read_text()))
