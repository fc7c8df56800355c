"""The form made from a model gives back the model, and never an invalid one."""

from __future__ import annotations

from typing import Any, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from stratnb.blocks.base import ROLES, kinds
from stratnb.strategy.documents import build_config, names, validate
from stratnb.ui.fields import NumberField, OptionalField
from stratnb.ui.form import Form, KindEditor, RowsEditor, SectionsEditor, form


class Level(BaseModel):
    """A row of a list."""

    model_config = ConfigDict(frozen=True)
    at: float = Field(0.01, gt=0, le=1)
    close: float = Field(0.5, ge=0, le=1)


class Sample(BaseModel):
    """One field of each sort."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    fast: int = Field(9, ge=1, le=500, title="Fast")
    slow: int = Field(20, ge=2, le=5000)
    mode: Literal["a", "b"] = "a"
    many: Literal["1", "2", "3", "4", "5"] = "1"
    on: bool = True
    limit: float | None = Field(None, ge=0.01, le=1)
    levels: tuple[Level, ...] = (Level(),)
    named: dict[str, Level] = {"k": Level(at=0.2)}
    free: dict[str, float] = {}
    text: str = "x"
    version: int = Field(1, alias="schema")

    @model_validator(mode="after")
    def _ordered(self) -> Sample:
        if self.fast >= self.slow:
            raise ValueError("order_violation: fast must be below slow")
        return self


@pytest.fixture
def made() -> Form:
    """Return a form with its widgets."""
    result = form(Sample())
    assert result.widget.children
    return result


@pytest.mark.parametrize("name", names())
def test_the_form_of_a_shipped_strategy_is_the_strategy(name: str) -> None:
    config = build_config(name).config
    made = form(config)
    assert made.value == config
    assert rebuilt(made) == config
    assert validate(rebuilt(made).to_document()).config_hash == config.config_hash


@pytest.mark.parametrize("kind", [(role, name) for role in ROLES for name in kinds(role)], ids="-".join)
def test_the_form_of_a_block_is_the_block(kind: tuple[Any, str]) -> None:
    try:
        block = kinds(kind[0])[kind[1]]()
    except ValidationError:
        pytest.skip("it has parameters without defaults")
    assert rebuilt(form(block)) == block


def rebuilt(made: Form) -> Any:
    """Return the model built anew from the values of the fields."""
    return made._built({name: field.value for name, field in made.fields.items()})


def field(made: Form, name: str) -> Any:
    """Return an editor."""
    return made.fields[name]


def test_an_invalid_value_is_explained_and_the_last_valid_one_kept(made: Form) -> None:
    box = field(made, "fast").box
    for wrong, word in (
        ("abc", "whole number"),
        ("999", "must be at most 500"),
        ("40", "fast must be below slow"),
    ):
        box.value = wrong
        assert word in field(made, "fast").fault
        assert made.value.fast == 9
    box.value = "12"
    assert (made.value.fast, field(made, "fast").fault) == (12, "")


def test_a_message_shows_what_was_typed_literally(made: Form) -> None:
    field(made, "fast").box.value = "<img src=x onerror=alert(1)>"
    assert "<img" not in field(made, "fast")._message.value
    assert "&lt;img" in field(made, "fast")._message.value


def test_slider_and_box_follow_each_other(made: Form) -> None:
    fast = field(made, "fast")
    assert isinstance(fast, NumberField)
    fast.slider.value = 15
    assert (made.value.fast, fast.box.value) == (15, "15")
    fast.box.value = "7"
    assert fast.slider.value == 7


def test_far_bounds_give_a_logarithmic_slider(made: Form) -> None:
    assert type(field(made, "slow").slider).__name__ == "FloatLogSlider"
    assert type(field(made, "fast").slider).__name__ == "IntSlider"


def test_few_choices_are_buttons_and_many_a_dropdown(made: Form) -> None:
    assert type(field(made, "mode").box).__name__ == "ToggleButtons"
    assert type(field(made, "many").box).__name__ == "Dropdown"


def test_an_optional_value_is_inherited_until_it_is_switched_on(made: Form) -> None:
    limit = field(made, "limit")
    assert isinstance(limit, OptionalField)
    limit.switch.value = False
    limit.inner.box.value = "0.3"
    assert made.value.limit == 0.3
    limit.switch.value = True
    assert made.value.limit is None


def test_rows_are_added_edited_and_removed(made: Form) -> None:
    levels = field(made, "levels")
    assert isinstance(levels, RowsEditor)
    assert levels.widget is not None
    levels.add.click()
    levels.rows[1].fields["at"].box.value = "0.7"
    levels.rows[1].fields["at"].box.value = "7"
    assert [level.at for level in made.value.levels] == [0.01, 0.7]
    levels.remove(levels.rows[0])
    assert [level.at for level in made.value.levels] == [0.7]


def test_named_sections_are_edited(made: Form) -> None:
    named = field(made, "named")
    assert isinstance(named, SectionsEditor)
    named.sections["k"].fields["close"].box.value = "0.25"
    assert made.value.named["k"].close == 0.25


def test_an_alias_and_free_json_are_kept(made: Form) -> None:
    field(made, "free").box.value = '{"a": 1}'
    field(made, "version").box.value = "2"
    assert (made.value.free, made.value.version) == ({"a": 1.0}, 2)
    assert rebuilt(made) == made.value


def test_another_kind_of_a_nested_block_replaces_it_and_its_form() -> None:
    made = form(build_config("simple-levels").config)
    sizing = made.fields["sizing"]
    assert isinstance(sizing, KindEditor)
    assert sizing.widget is not None
    other = next(kind for kind in ("fixed_quote", "fixed_fraction") if kind != sizing.value.kind)
    sizing.box.value = other
    assert made.value.sizing.kind == sizing.form.value.kind == other


def test_an_analyzer_keeps_kind_and_block_together() -> None:
    made = form(build_config("level-trading-single-ema").config)
    analyzers = made.fields["analyzers"]
    assert isinstance(analyzers, RowsEditor)
    row: Any = analyzers.rows[0]
    assert row.fields["params"].widget is not None
    row.fields["params"].box.value = "rsi"
    assert made.value.analyzers[0].kind == made.value.analyzers[0].params.kind == "rsi"


def test_a_form_with_a_shown_fault_tells_it() -> None:
    made = form(build_config("trend-rider").config)
    assert list(made.faults()) == []
    name = made.fields["name"]
    assert not name.offer("my form") and made.value.name == "trend-rider"
    assert [fault.split(":")[0] for fault in made.faults()] == [name.spec.title]
    assert name.offer("my-form") and list(made.faults()) == []


@pytest.mark.parametrize("text", ["1,5", "1,50", "0,5", "1,2345", ",5", "1_5", "1,234,56"])
def test_a_comma_that_parts_no_thousands_is_refused_and_the_value_stays(text: str) -> None:
    class Money(BaseModel):
        cash: float = 7.0

    editor = form(Money()).fields["cash"]
    editor.box.value = text
    assert editor.value == 7.0 and "is not a number" in editor.fault
    editor.box.value = "1,234,567.5"
    assert (editor.value, editor.fault) == (1_234_567.5, "")


def test_a_number_outside_its_bounds_is_told_in_words_with_its_percentage() -> None:
    class Bounded(BaseModel):
        part: float = Field(0.5, ge=0.0, le=1.0)

    editor = form(Bounded()).fields["part"]
    editor.box.value = "60"
    assert editor.fault == "60 must be at most 1; 60 % is 0.6"
    editor.box.value = "-1"
    assert editor.fault == "-1 must be at least 0"
