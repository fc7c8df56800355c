"""The form of a configuration, each value with the layer it comes from."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from stratnb.errors import ConfigError
from stratnb.strategy.config import AnalyzerEntry, IndicatorEntry, StrategyConfig
from stratnb.strategy.documents import validate
from stratnb.strategy.paths import join
from stratnb.ui.fields import Editor, OptionalField
from stratnb.ui.form import Form, KindEditor, RowsEditor, SectionsEditor, form
from stratnb.ui.panels.config_draft import Draft

__all__ = ["FIXED", "config_form", "first_finding", "mark", "values_of"]

FIXED = ("name", "version", "extends", "extra")
TONES = {
    "default": ("mute", "The default of the block or section"),
    "base": ("info", "From the workspace's base.json or an extended document"),
    "strategy": ("text", "Written in the strategy's document"),
    "override": ("accent", "Changed since the document was loaded"),
    "edited": ("warn", "Edited here, not applied yet"),
}


def config_form(config: StrategyConfig, changed: Callable[[StrategyConfig], None]) -> Form:
    """Return the form of a configuration; `changed` gets every edit that leaves it valid, before the fields do."""
    made = form(config)
    for name in FIXED:
        made.fields[name].widget.add_class("sn-off")

    def _judge(candidate: StrategyConfig) -> str:
        fault = first_finding(candidate)
        if not fault:
            changed(candidate)
        return fault

    made.judge = _judge
    return made


def first_finding(config: StrategyConfig) -> str:
    """Return the first fault of a whole configuration, nothing when it is valid."""
    try:
        validate(config.to_document())
    except ConfigError as error:
        return str(error.findings[0]) if error.findings else error.message
    return ""


def mark(made: Form, draft: Draft) -> None:
    """Write the source of every value beside its label."""
    for path, editor in values_of(made, ""):
        word = draft.source(path)
        tone, title = TONES.get(word, ("mute", ""))
        editor.mark(word, tone, title)


def values_of(editor: Editor, path: str) -> Iterator[tuple[str, Editor]]:
    """Yield (path in the document, editor) of every value of a form."""
    match editor:
        case Form():
            for name, field in editor.fields.items():
                yield from _field(editor, name, field, path)
        case KindEditor():
            yield join(path, "kind"), editor
            yield from values_of(editor.form, path)
        case RowsEditor():
            for n, row in enumerate(editor.rows):
                yield from values_of(row, join(path, n))
        case SectionsEditor():
            for name, section in editor.sections.items():
                yield from values_of(section, join(path, name))
        case OptionalField() if editor.value is not None and isinstance(editor.inner, Form | RowsEditor):
            yield path, editor
            yield from values_of(editor.inner, path)
        case _:
            yield path, editor


def _field(owner: Form, name: str, field: Editor, path: str) -> Iterator[tuple[str, Editor]]:
    """Yield the values of a field; the block of an indicator stands beside its timeframe in the document."""
    if isinstance(owner.value, IndicatorEntry) and name == "block":
        yield from values_of(field, path)
    elif isinstance(owner.value, AnalyzerEntry) and isinstance(field, KindEditor):
        yield join(path, "kind"), field
        yield from values_of(field.form, join(path, name))
    else:
        yield from values_of(field, join(path, name) if path else name)
