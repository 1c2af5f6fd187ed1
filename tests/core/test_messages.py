"""What carriers write, what others write, and how long it takes to tell them apart."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from failover.config.modem_values import parse_pattern
from failover.config.modems import MATCHED_MAX, Matter
from failover.core.messages import CODE, USUAL, Matcher, shown

S, C, R, P = Matter.SUSPENSION, Matter.CAP, Matter.ROAMING, Matter.PAYMENT
MATCHER = Matcher({})


@pytest.mark.parametrize(
    ("text", "matters"),
    [
        ("【au】料金のお支払いが確認できないため、10月9日にご利用を停止いたします。", {S, P}),
        ("ドコモです。ご利用料金のお支払いが確認できておりません。至急お支払いください。", {P}),
        ("10/9より回線の利用停止となります", {S}),
        ("お客さまの回線を停止しました", {S}),
        ("期日までに更新がない場合、サービスのご提供を停止します", {S}),
        ("契約解除のお知らせ", {S}),
        ("当月ご利用のデータ通信量が20GBを超えました。速度制限中です", {C}),
        ("ご利用データ量が当月利用可能データ量の80%に達しました", {C}),
        ("ﾃﾞｰﾀ容量の残りが500MBです。上限を超えると低速化します", {C}),
        ("今月のギガを使い切りました", {C}),
        ("通信速度を低速に切り替えました", {C}),
        ("海外でのご利用には国際ローミングの設定が必要です", {R}),
        ("海外パケット定額が適用されました", {R}),
        ("9月分の料金が未納です", {P}),
        ("ご請求額のご案内 9月分 3,278円", {P}),
        ("口座振替ができませんでした", {P}),
        ("Your line will be suspended on 10/9 unless your bill is paid.", {S}),
        ("NOTICE OF SUSPENSION: suspension date 9 Oct", {S}),
        ("Your SIM has been deactivated.", {S}),
        ("Data cap reached: 20 GB", {C}),
        ("You have used 80% of your data. Speeds will be reduced.", {C}),
        ("You've used 18 GB", {C}),
        ("You are out of data", {C}),
        ("Welcome to Korea! Data roaming is charged at 2 EUR per MB.", {R}),
        ("Using your phone abroad: calls cost more", {R}),
        ("Your payment of 30 EUR failed", {P}),
        ("Your bill is overdue", {P}),
        ("Low credit. Please top up.", {P}),
        ("ＹＯＵＲ　ＳＩＭ　ＷＩＬＬ　ＢＥ　ＳＵＳＰＥＮＤＥＤ", {S}),
    ],
)
def test_what_carriers_write(text: str, matters: set[Matter]) -> None:
    assert set(MATCHER.matters(text)) == matters


@pytest.mark.parametrize(
    "text",
    [
        "認証コード 123456",
        "【LINE】認証番号は 482913 です。他人に教えないでください。",
        "ワンタイムパスワード: 918273 (ご利用金額 5,000円のお支払い)",
        "お支払いの確認コード: 1234。有効期限は10分です",
        "Your verification code is 123456. It expires in 10 minutes.",
        "G-482913 is your Google verification code.",
        "123456 is your OTP for payment of $30 due today. Msg & data rates may apply.",
        "Use 4711 as your login code. Don't share it, even to keep your account.",
        "Your one-time code for your bill payment is due: 998877",
        "配信停止はこちら https://example.com/stop",
        "お荷物のお届けにあがりましたが不在の為持ち帰りました。",
        "海外旅行キャンペーン実施中！",
        "明日10時に集合でお願いします",
        "The train service is on time. Reply STOP to unsubscribe.",
        "Save 10 GB for your data",
        "",
    ],
)
def test_what_is_nobodys_alarm(text: str) -> None:
    assert MATCHER.matters(text) == ()


def test_patterns_of_the_config_come_besides() -> None:
    matcher = Matcher({Matter.CAP: ("giga.{0,5}fini",), Matter.PAYMENT: ("ｶﾞｿﾘﾝ",)})
    assert matcher.matters("GIGA est fini") == (C,)
    assert matcher.matters("ｶﾞｿﾘﾝ 認証コード") == (P,)
    assert matcher.matters("Data cap reached") == (C,)
    assert Matcher({Matter.CAP: ("giga",)}).matters("ＧＩＧＡ") == (C,)


@pytest.mark.parametrize("pattern", [CODE.split("|\\b")[0], *(one for matter in Matter for one in USUAL[matter])])
def test_the_usual_patterns_keep_the_bounds_of_the_configs(pattern: str) -> None:
    assert parse_pattern(pattern) == pattern


@pytest.mark.parametrize(
    "seed", ["データ量", "通信速度", "利用", "your bill ", "used data ", "海外", "料金", "a", "支払い"]
)
def test_no_text_takes_long(seed: str) -> None:
    """Much less than the 20 ms that the loop may be late by, though it is done beside the loop."""
    text = seed * (2 * MATCHED_MAX // len(seed))
    MATCHER.matters(text)
    began = time.thread_time()
    MATCHER.matters(text)
    assert time.thread_time() - began < 0.02


def test_no_more_than_the_beginning_is_looked_at() -> None:
    assert MATCHER.matters("a" * (MATCHED_MAX - 5) + "ローミング") == (R,)
    assert MATCHER.matters("a" * (MATCHED_MAX - 4) + "ローミング") == ()
    assert MATCHER.matters("\ufdfa" * MATCHED_MAX + "ローミング") == ()


@given(st.text(max_size=200))
def test_any_text_is_taken(text: str) -> None:
    assert set(MATCHER.matters(text)) <= set(Matter)


@pytest.mark.parametrize(
    ("number", "everybody"),
    [
        ("+818011112222", "…2222"),
        ("090-1111-2222", "…2222"),
        ("Sato 09011112222", "…2222"),
        ("157", "157"),
        ("22445", "22445"),
        ("KDDI", "KDDI"),
        ("SoftBank3G", "SoftBank3G"),
        ("", "nobody"),
    ],
)
def test_a_sender_as_everybody_may_see_it(number: str, everybody: str) -> None:
    assert shown(number) == everybody
