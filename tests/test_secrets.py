"""Secrets come from the environment or the keyring, and are shown nowhere."""

from __future__ import annotations

import importlib.util
import pickle
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

import pytest

from stratnb.errors import ConfigError
from stratnb.services.secrets import Secret, read_secret

NAME, TEXT = "STRATNB_TEST_SECRET", "123456:AAbbCC"


def keyring(monkeypatch: pytest.MonkeyPatch, answer: Any) -> None:
    """Put a keyring in place that answers so."""
    module = ModuleType("keyring")
    module.__spec__ = ModuleSpec("keyring", None)
    module.get_password = answer  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "keyring", module)


def test_a_secret_is_not_shown_not_pickled_and_taken_out_of_texts() -> None:
    secret = Secret(TEXT)
    assert TEXT not in f"{secret!r} {secret} {vars.__name__}"
    assert secret.hide(f"https://there/bot{TEXT}/send") == "https://there/bot***/send"
    assert secret.reveal() == TEXT
    with pytest.raises(TypeError):
        pickle.dumps(secret)


def test_the_environment_comes_first_then_the_keyring(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, str]] = []

    def answer(service: str, name: str) -> str:
        asked.append((service, name))
        return "of the keyring"

    keyring(monkeypatch, answer)
    monkeypatch.setenv(NAME, f" {TEXT}\n")
    found = read_secret(NAME)
    assert found is not None
    assert (found.reveal(), asked) == (TEXT, [])
    monkeypatch.delenv(NAME)
    found = read_secret(NAME)
    assert found is not None
    assert (found.reveal(), asked) == ("of the keyring", [("stratnb", NAME)])


def test_without_either_there_is_none_and_a_locked_keyring_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(NAME, raising=False)
    if importlib.util.find_spec("keyring") is None:
        assert read_secret(NAME) is None
    keyring(monkeypatch, lambda service, name: None)
    assert read_secret(NAME) is None

    def locked(service: str, name: str) -> str:
        raise RuntimeError("locked")

    keyring(monkeypatch, locked)
    with pytest.raises(ConfigError) as caught:
        read_secret(NAME)
    assert caught.value.code == "keyring"
    assert NAME in str(caught.value)
