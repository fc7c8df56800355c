"""The test of the notifier on a page: a button for an engine that has one, none for the others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

CODE = """
from IPython.display import display
from stratnb import Engine
from stratnb.ui.panels.risk import RiskPanel

class Bell:
    def notify(self, level, text, strategy_id=None):
        pass

for name, notifier in (("with", Bell()), ("without", None)):
    display(RiskPanel(Engine(name, notifier=notifier).board))
"""


def test_the_notifier_is_tested_where_there_is_one(
    voila: Callable[..., Any], open_page: Callable[..., Any], faults: Any
) -> None:
    page = open_page(voila(CODE).url(), width=1280)
    page.get_by_text("Account normal").nth(1).wait_for()
    button = page.get_by_role("button", name="Test notifier")
    button.click()
    page.get_by_role("status").get_by_text("Sent: Test message of engine 'with', asked for by panel").wait_for()
    assert button.count() == 1
    faults.check()
