from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dm_isaac_g1.core import redact
from dm_isaac_g1.core.redact import MARK


@pytest.fixture(autouse=True)
def nothing_registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redact, "_values", set())
    monkeypatch.setattr(redact, "_known", None)


HEX40 = "0123456789abcdef0123456789abcdef01234567"
PEM = "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEA\nAAAA\n-----END OPENSSH PRIVATE KEY-----"


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("login with hf_AbCdEfGhIjKlMnOpQrStUvWx.", f"login with {MARK}."),
        ("ghp_abcdefghijklmnopqrstuvwxyz0123456789", MARK),
        ("github_pat_11ABCDEFG0abcdefghijkl_mnopqrstuv", MARK),
        (f"wandb: api key {HEX40}", f"wandb: api key {MARK}"),
        (f"WANDB_API_KEY={HEX40}", f"WANDB_API_KEY={MARK}"),
        (f"before\n{PEM}\nafter", f"before\n{MARK}\nafter"),
        ("-----BEGIN RSA PRIVATE KEY-----\nMIIE", MARK),
        ("password=hunter2 user=me", f"password={MARK} user=me"),
        ("Password: 'two words', ok", f"Password: {MARK}, ok"),
        ('{"password": "two words", "user": "me"}', f'{{"password": {MARK}, "user": "me"}}'),
        ("MY_SECRET=x&y=1", f"MY_SECRET={MARK}&y=1"),
        ("git clone https://me:s3cret@github.com/x", f"git clone https://me:{MARK}@github.com/x"),
        ("Authorization: Bearer abc.def-ghi_jkl", f"Authorization: Bearer {MARK}"),
    ],
)
def test_what_looks_like_a_secret_is_taken_out(text: str, clean: str) -> None:
    assert redact.redact(text) == clean
    assert redact.redact(clean) == clean


@pytest.mark.parametrize(
    "text",
    [
        f"commit {HEX40}",
        "{'loss': 0.5728, 'grad_norm': 0.0239, 'learning_rate': 0.0006}",
        "tokenizer=fast max_tokens: 5",
        "the password is wrong",
        "Loading checkpoint shards: 100%",
        "ssh://host/path user@host:22",
        "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert redact.redact(text) == text


def test_a_registered_value_is_taken_out_wherever_it_stands() -> None:
    redact.register("s3cr+t(value)")
    assert redact.redact("xs3cr+t(value)y") == f"x{MARK}y"


def test_a_short_value_is_taken_out_as_a_word_only() -> None:
    redact.register("ab")
    assert redact.redact("abc ab cab -ab-") == f"abc {MARK} cab -{MARK}-"


def test_the_longer_of_two_values_goes_first() -> None:
    redact.register("longsecret")
    redact.register("longsecret-and-more")
    assert redact.redact("a longsecret-and-more b") == f"a {MARK} b"


def test_an_empty_value_is_no_secret() -> None:
    redact.register("")
    assert redact.redact("text") == "text"


@given(st.text(max_size=200))
def test_no_text_is_too_strange(text: str) -> None:
    assert redact.redact(redact.redact(text)) == redact.redact(text)


@pytest.mark.parametrize("piece", ["a", "password", "api ", "wandb: ", "://", "a://b:", "token = ", "-----BEGIN "])
def test_a_huge_line_costs_no_more_than_its_length(piece: str) -> None:
    def cost(length: int) -> float:
        text = (piece * length)[:length]
        began = time.process_time()
        redact.redact(text)
        return time.process_time() - began

    cost(1000)
    assert cost(1_000_000) < 20 * cost(100_000) + 0.2
