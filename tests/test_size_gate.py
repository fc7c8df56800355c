"""The size gate counts code only and names what is too large, untyped or undocumented."""

from __future__ import annotations

from pathlib import Path

import pytest

import size_gate

GOOD = '''"""A module."""

# a comment


def double(x: int) -> int:
    """Return twice x.

    More words.
    """
    y = x * 2  # the result

    return y
'''


def _tree(folder: Path, text: str, name: str = "module.py") -> list[size_gate.Part]:
    (folder / name).write_text(text, encoding="utf-8")
    return size_gate.measure(folder)


def test_only_code_counts(tmp_path: Path) -> None:
    parts = _tree(tmp_path, GOOD)
    assert [(part.kind, part.size) for part in parts] == [("module", 3), ("function", 3)]
    assert size_gate.faults(parts) == []
    assert size_gate.figures(parts)["typed"] == 1.0


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("x = 1\n", "a public module needs a docstring"),
        ('"""M."""\ndef f() -> None: ...\n', "a public function needs a docstring"),
        ('"""M."""\nclass C: ...\n', "a public class needs a docstring"),
        ('"""M."""\ndef _f(x, *rest: int) -> None: ...\n', "no type for x"),
        ('"""M."""\ndef _f(x: int): ...\n', "no type for return"),
        ('"""M."""\ndef _f() -> None:\n' + "    x = 1\n" * 50, "51 lines of code, at most 50 per function"),
        ('"""M."""\n' + "x = 1\n" * 401, "401 lines of code, at most 400 per module"),
        ('"""M."""\n' + "x = 1\n" * 121, "module_median is 121, at most 120"),
        ('"""M."""\ndef _f() -> None:\n' + "    x = 1\n" * 25, "function_p95 is 26, at most 25"),
    ],
)
def test_each_fault_is_named(tmp_path: Path, text: str, fault: str) -> None:
    assert any(fault in line for line in size_gate.faults(_tree(tmp_path, text)))


@pytest.mark.parametrize("name", ["page.css", "page.js"])
def test_large_assets_are_named(tmp_path: Path, name: str) -> None:
    assert size_gate.faults(_tree(tmp_path, "x\n\n" * 400, name)) == []
    assert "at most 400 per asset" in size_gate.faults(_tree(tmp_path, "x\n" * 401, name))[0]


def test_exit_code(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "module.py").write_text(GOOD, encoding="utf-8")
    assert size_gate.main([str(tmp_path)]) == 0
    (tmp_path / "module.py").write_text("x = 1\n", encoding="utf-8")
    assert size_gate.main([str(tmp_path)]) == 1
    assert "needs a docstring" in capsys.readouterr().out
    assert size_gate.main([str(tmp_path / "absent")]) == 2
