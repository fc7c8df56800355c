"""The front door: one sorted list of names that load on first use."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import stratnb

HEAVY = ("bokeh", "ccxt", "ipywidgets", "llvmlite", "numba", "pandas", "pyarrow", "voila")


def _loaded(statement: str) -> set[str]:
    """Return the heavy packages that a statement loads in a fresh interpreter."""
    code = f"import sys\n{statement}\nprint(*sorted({HEAVY!r} & sys.modules.keys()))".replace(
        repr(HEAVY), repr(set(HEAVY))
    )
    source = str(Path(stratnb.__file__).parents[1])
    result = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {source!r})\n{code}"],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return set(result.stdout.split())


@pytest.mark.parametrize("statement", ["import stratnb", "import stratnb.cli"])
def test_importing_loads_nothing_heavy(statement: str) -> None:
    assert _loaded(statement) == set()


def test_the_names_are_sorted_and_few() -> None:
    assert stratnb.__all__ == sorted(stratnb.__all__)
    assert len(stratnb.__all__) <= 25
    assert dir(stratnb) == stratnb.__all__


@pytest.mark.parametrize("name", stratnb.__all__)
def test_every_name_resolves(name: str) -> None:
    value = getattr(stratnb, name)
    assert value.__name__ == name
    assert value.__doc__


@pytest.mark.parametrize("home", ["parity", "research.backtest", "engine"])
def test_a_module_does_not_hide_a_name(home: str) -> None:
    importlib.import_module(f"stratnb.{home}")
    assert callable(stratnb.parity) and callable(stratnb.backtest) and callable(stratnb.get_engine)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'enigne'"):
        importlib.import_module("stratnb").enigne  # noqa: B018
