"""What every test shares: the examples of hypothesis, no network but this machine, and a ledger of trials to lose."""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

settings.register_profile("check", max_examples=8, deadline=None, derandomize=True)
settings.register_profile("test", max_examples=60, deadline=None, derandomize=True)
settings.load_profile("test")

# Modules that take long; `make check` leaves them out.
SLOW = {
    *("test_agreement", "test_attach", "test_backtest_panel", "test_benchmarks", "test_cluster", "test_config_editor"),
    *("test_crash", "test_fused", "test_honesty", "test_hosting", "test_inline", "test_inspector"),
    *("test_journal_faults", "test_journaling", "test_lease", "test_lookahead", "test_mark", "test_models"),
    *("test_noise", "test_observer", "test_panels", "test_performance", "test_portfolio", "test_report"),
    *("test_research_cli", "test_resting", "test_restoring", "test_risk_engine", "test_serve", "test_stats"),
    *("test_study_panels", "test_sweep", "test_switch_crash", "test_switch_policies", "test_walk_forward"),
}

LOOPBACK = {"", "localhost", "::1", "0.0.0.0", None}
_outside: list[str] = []


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of modules that take long."""
    for item in items:
        if item.path.stem in SLOW:
            item.add_marker(pytest.mark.slow)


@pytest.fixture
def every_loop_compiles(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Fail where a generated loop was refused by the compiler: the shared one would then be compared with itself."""
    with caplog.at_level(logging.INFO, logger="stratnb.kernels.fused"):
        yield
    refused = [record.getMessage() for record in caplog.get_records("call") if record.name == "stratnb.kernels.fused"]
    assert refused == []


def _is_loopback(host: object) -> bool:
    name = host.decode() if isinstance(host, bytes) else host
    return name in LOOPBACK or str(name).startswith("127.")


def _refuse(host: object) -> None:
    if not _is_loopback(host):
        _outside.append(str(host))
        raise ConnectionRefusedError(f"a test may talk to this machine only, not to {host!r}")


@pytest.fixture(scope="session", autouse=True)
def refused_hosts() -> Iterator[list[str]]:
    """Refuse connections and name look-ups that leave the machine; give the hosts that the test asked for."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("connect", "connect_ex"):
            real = getattr(socket.socket, name)

            def guarded(self: socket.socket, address: Any, real: Any = real) -> Any:
                if self.family in (socket.AF_INET, socket.AF_INET6):
                    _refuse(address[0])
                return real(self, address)

            patch.setattr(socket.socket, name, guarded)
        look_up = socket.getaddrinfo

        def guarded_look_up(host: Any, *args: Any, **kwargs: Any) -> Any:
            _refuse(host)
            return look_up(host, *args, **kwargs)

        patch.setattr(socket, "getaddrinfo", guarded_look_up)
        yield _outside


@pytest.fixture(scope="session", autouse=True)
def own_ledger(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Count the trials of tests in a file of their own, never in the user's."""
    with pytest.MonkeyPatch.context() as patch:
        path = tmp_path_factory.mktemp("ledger") / "trials.sqlite"
        patch.setenv("STRATNB_LEDGER", str(path))
        yield path


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """Fail a test that tried to leave the machine, even when the code under test swallowed the refusal."""
    _outside.clear()
    yield
    if _outside:
        pytest.fail(f"the test tried to reach {', '.join(sorted(set(_outside)))}")
