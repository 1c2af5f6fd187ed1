"""What a message from a carrier is about: regular expressions over its text. Pure.

Usual patterns are for what Japanese and English carriers write; those of the config are tried besides. A false alarm
costs a look, a missed suspension a van: but a one-time code is nobody's alarm.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from typing import Final

from failover.config.modems import MATCHED_MAX, Matter
from failover.modem import masked

USUAL: Final[Mapping[Matter, tuple[str, ...]]] = {
    Matter.SUSPENSION: (
        r"利用.{0,4}(停止|休止|できなくな|いただけなくな)",
        r"(回線|通話|通信|サービス|契約)[のをが]?(ご提供[のをが]?)?(停止|休止|解約|解除)|強制解約",
        r"\b(line|service|sim|number|account|subscription|plan)\b.{0,20}\b(suspended|deactivated|disconnected|terminated)",
        r"\b(suspension|deactivation|disconnection|termination) (of|date|notice)\b",
        r"\b(will|to) be (suspended|deactivated|disconnected|terminated|cut off)\b",
    ),
    Matter.CAP: (
        r"(データ|通信|パケット)[通信利用容]{0,4}量.{0,30}([超達残]|上限)",
        r"(通信|データ)?速度.{0,8}(制限|低下|低速)|低速化|通信制限",
        r"(データ|通信|ギガ).{0,10}(上限|使い切)",
        r"\bdata (cap|limit|allowance|allocation|quota|bundle)\b",
        r"\b(used|reached|exceeded)\b.{0,30}\b(data|allowance)\b",
        r"\bused [0-9]{1,4} ?[MG]B\b",
        r"\b(speed|data|connection)s?\b.{0,30}\b(throttled|reduced|slowed)\b",
        r"\bout of data\b",
    ),
    Matter.ROAMING: (
        r"ローミング",
        r"海外.{0,4}(利用|通信|データ|パケット|通話|定額)|海外パケ",
        r"\broaming\b",
        r"\b(abroad|overseas)\b.{0,20}\b(data|calls?|rates?|usage)\b",
    ),
    Matter.PAYMENT: (
        r"未納|未払|滞納|延滞|督促",
        r"お支払|支払い?(期限|期日|方法|金額|の確認|のお願い)",
        r"料金.{0,10}(支払|請求|引落|引き落|確認でき|案内|確定)",
        r"請求(額|金額|書|のご案内|のお知らせ)",
        r"(口座振替|引落|引き落とし).{0,10}(でき|不能|失敗)|残高.{0,4}不足",
        r"\b(unpaid|overdue|past due|outstanding balance)\b",
        r"\b(bill|invoice|payment|balance)\b.{0,20}\b(due|failed|declined|rejected|is ready|is low)\b",
        r"\bpay your (bill|invoice|balance)\b|\btop[ -]?up\b",
    ),
}
CODE: Final = (
    r"(認証|確認|承認|本人確認|セキュリティ)(用)?(コード|番号|キー)|ワンタイム|パスコード|暗証"
    r"|\b(verification|security|login|confirmation|authenti[a-z]{1,9}) code\b|\bone[- ]time\b|\bpasscode\b|\bOTP\b"
)
"""What gives a one-time code, for a payment as well, and so is no bill; other matters are not about payments."""
SHORT: Final = 6
"""Digits at most of a carrier's or a company's number; a person's has more."""


class Matcher:
    """Built once for a config, which takes milliseconds; then `matters` of any text, in bounded time."""

    def __init__(self, patterns: Mapping[str, tuple[str, ...]]) -> None:
        """`patterns`: the config's, which were checked."""
        self._code = re.compile(CODE, re.IGNORECASE)
        self._usual = {matter: _compiled(written) for matter, written in USUAL.items()}
        self._own = {matter: _compiled(patterns.get(matter, ())) for matter in Matter}

    def matters(self, text: str) -> tuple[Matter, ...]:
        """Of its first MATCHED_MAX characters; half-width kana and full-width letters count as the common ones."""
        found = text[:MATCHED_MAX]
        plain = unicodedata.normalize("NFKC", found)[:MATCHED_MAX]
        code = self._code.search(plain)
        return tuple(
            matter
            for matter in Matter
            if _any(self._own[matter], found)
            or (plain != found and _any(self._own[matter], plain))
            or (not (code and matter is Matter.PAYMENT) and _any(self._usual[matter], plain))
        )


def shown(number: str) -> str:
    """A sender as everybody may see it: a telephone number by its end, a short one or a name whole."""
    digits = "".join(character for character in number if character.isdigit())
    return masked(digits) if len(digits) > SHORT else number or "nobody"


def _compiled(patterns: tuple[str, ...]) -> tuple[re.Pattern[str], ...]:
    return tuple(re.compile(pattern, re.IGNORECASE) for pattern in patterns)


def _any(patterns: tuple[re.Pattern[str], ...], text: str) -> bool:
    return any(pattern.search(text) for pattern in patterns)
