"""A form made from a pydantic model: every field gets its control, and the value is always a valid model.

Law: `form(config).value == config`. Labels, help, units and bounds come from the fields, so they are written once.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import ipywidgets as w
from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from stratnb.blocks.base import Block, find, kinds
from stratnb.ui.fields import (
    BoolField,
    ChoiceField,
    Editor,
    JsonField,
    NumberField,
    OptionalField,
    Spec,
    TextField,
    first_fault,
    named,
)
from stratnb.ui.format import escape

__all__ = ["Form", "KindEditor", "RowsEditor", "SectionsEditor", "form"]


def form(value: BaseModel, *, inherited: Mapping[str, str] | None = None) -> Form:
    """Return the form of a model; `inherited` names by field what holds while an optional field is left open."""
    return Form(Spec(type(value).__name__, type(value).__name__), value, inherited=inherited)


class Form(Editor):
    """The fields of one model, each with its editor; an edit counts only if the whole model stays valid."""

    def __init__(self, spec: Spec, value: BaseModel, *, inherited: Mapping[str, str] | None = None) -> None:
        super().__init__(spec, value)
        self.model = type(value)
        self.fields: dict[str, Editor] = {}
        self._changed: set[str] = set(value.model_fields_set)
        self._named_by = _kind_source(value)
        for name, info in self.model.model_fields.items():
            note = (inherited or {}).get(name, "")
            editor = editor_for(_spec(name, info, note), info.annotation, getattr(value, name), info.metadata)
            editor.judge = partial(self._judge, name)
            self.fields[name] = editor

    @cached_property
    def widget(self) -> w.Widget:
        """The fields below each other, models inside in sections that open on a click."""
        shown = [field for name, field in self.fields.items() if not (self._named_by and name == "kind")]
        box = w.VBox([*(_placed(field) for field in shown), self._message])
        box.add_class("sn-form")
        return box

    def controls(self) -> Sequence[w.Widget]:
        """Return the widgets of the fields."""
        return [field.widget for field in self.fields.values()]

    def _judge(self, name: str, value: Any) -> str:
        values = {key: field.value for key, field in self.fields.items()} | {name: value}
        self._changed.add(name)
        if name == self._named_by:
            values["kind"] = self.fields["kind"].value = value.kind
            self._changed.add("kind")
        try:
            candidate = self._built(values)
        except ValidationError as error:
            return first_fault(error)
        return self.commit(candidate)

    def _built(self, values: Mapping[str, Any]) -> Any:
        given = {}
        for name, info in self.model.model_fields.items():
            if name in self._changed or values[name] != getattr(self.value, name):
                given[info.alias or name] = values[name]
        return self.model.model_validate(given)


class KindEditor(Editor):
    """A nested block: its kind in a dropdown and the form of that kind's parameters."""

    def __init__(self, spec: Spec, value: Block) -> None:
        super().__init__(spec, value)
        self._open(value)

    @cached_property
    def box(self) -> w.Dropdown:
        """The dropdown of kinds; it is hidden when only one is possible."""
        block: Block = self.value
        options = sorted({*kinds(block.role), block.kind})
        box = named(w.Dropdown(options=options, value=block.kind), self.spec, "sn-field")
        box.observe(lambda change: self._chosen(change["new"]), "value")
        return box

    @cached_property
    def widget(self) -> w.Widget:
        """The dropdown above the parameters."""
        self._body = w.VBox([self.form.widget])
        row = w.HBox([self._label(), self.box])
        row.add_class("sn-formrow")
        box = w.VBox([row, self._body, self._message])
        box.add_class("sn-formblock")
        return box

    def controls(self) -> Sequence[w.Widget]:
        """Return the dropdown and the sub-form."""
        return [self.box, self.form.widget]

    def _open(self, block: Block) -> None:
        self.form = Form(self.spec, block)
        self.form.judge = self.commit

    def _chosen(self, kind: str) -> None:
        if kind == self.value.kind:
            return
        try:
            block = find(self.value.role, kind)()
        except ValidationError as error:
            fault = f"{kind} needs values of its own: {first_fault(error)}"
        else:
            fault = self.commit(block)
        if fault:
            self.complain(fault)
            self.box.value = self.value.kind
            return
        self.complain("")
        self._open(self.value)
        self._body.children = [self.form.widget]


class RowsEditor(Editor):
    """A list of models: one form per row, with buttons that add and remove rows."""

    def __init__(self, spec: Spec, value: Sequence[BaseModel], make: Callable[[], BaseModel] | None) -> None:
        super().__init__(spec, value)
        self._kind = type(value)
        self._make = make
        self.rows = [self._row(item) for item in value]

    @cached_property
    def add(self) -> w.Button:
        """The button that adds a row, a copy of the last one or a default."""
        return _button(f"Add to {self.spec.title.lower()}", self._added)

    @cached_property
    def widget(self) -> w.Widget:
        """The rows and the add button."""
        self._body = w.VBox([])
        self._lay()
        head = w.HBox([self._label()])
        head.add_class("sn-formrow")
        box = w.VBox([head, self._body, w.HBox([self.add]), self._message])
        box.add_class("sn-formlist")
        return box

    def controls(self) -> Sequence[w.Widget]:
        """Return the forms of the rows."""
        return [row.widget for row in self.rows]

    def remove(self, row: Editor) -> None:
        """Take a row out, if the model allows it."""
        self._offered([item for item in self.rows if item is not row])

    def _row(self, item: Any) -> Editor:
        editor = editor_for(Spec("", f"{self.spec.title} row"), type(item), item, ())
        editor.judge = partial(self._judge_row, editor)
        return editor

    def _judge_row(self, row: Editor, value: Any) -> str:
        return self._kept([value if item is row else item.value for item in self.rows])

    def _kept(self, values: list[Any]) -> str:
        return self.commit(self._kind(values))  # type: ignore[call-arg]

    def _added(self) -> None:
        if self._make is None and not self.rows:
            self.complain("there is no default row to add")
            return
        item = self._make() if self._make is not None else self.rows[-1].value
        self._offered([*self.rows, self._row(self._renamed(item))])

    def _renamed(self, item: Any) -> Any:
        """Return the item under a name that no other row has, when rows have names."""
        if "name" not in type(item).model_fields:
            return item
        taken = {row.value.name for row in self.rows}
        fresh = next(name for i in range(2, len(taken) + 3) if (name := f"{item.name}_{i}") not in taken)
        return item.model_copy(update={"name": fresh})

    def _offered(self, rows: list[Editor]) -> None:
        if self.complain(self._kept([row.value for row in rows])):
            self.rows = rows
            self._lay()

    def _lay(self) -> None:
        if "widget" in self.__dict__ or hasattr(self, "_body"):
            self._body.children = [_removable(row, partial(self.remove, row)) for row in self.rows]


class SectionsEditor(Editor):
    """A map of models: one named section each, which can be removed; blocks can be added by kind."""

    def __init__(self, spec: Spec, value: Mapping[str, Any], role: str | None) -> None:
        super().__init__(spec, value)
        self.role = role
        self.sections = {name: self._section(name, item) for name, item in value.items()}

    @cached_property
    def pick(self) -> w.Dropdown:
        """The kinds that can be added."""
        spec = Spec("", f"Kind to add to {self.spec.title.lower()}")
        return named(w.Dropdown(options=self._addable()), spec, "sn-field")

    @cached_property
    def widget(self) -> w.Widget:
        """The sections and, for blocks, the row that adds one."""
        self._body = w.VBox([])
        self._lay()
        head = w.HBox([self._label()])
        head.add_class("sn-formrow")
        tail = [w.HBox([self.pick, _button("Add", self._added)])] if self.role else []
        box = w.VBox([head, self._body, *tail, self._message])
        box.add_class("sn-formlist")
        return box

    def controls(self) -> Sequence[w.Widget]:
        """Return the forms of the sections."""
        return [section.widget for section in self.sections.values()]

    def remove(self, name: str) -> None:
        """Take a section out, if the model allows it."""
        self._offered({key: item for key, item in self.sections.items() if key != name})

    def _section(self, name: str, item: Any) -> Editor:
        editor = editor_for(Spec(name, name), type(item), item, ())
        editor.judge = lambda value: self.commit({k: v.value for k, v in self.sections.items()} | {name: value})
        return editor

    def _addable(self) -> list[str]:
        return [kind for kind in sorted(kinds(self.role)) if kind not in self.sections] if self.role else []  # type: ignore[arg-type]

    def _added(self) -> None:
        kind = self.pick.value
        if kind is None:
            return
        try:
            block = find(self.role, kind)()  # type: ignore[arg-type]
        except ValidationError as error:
            self.complain(f"{kind} needs values of its own: {first_fault(error)}")
            return
        self._offered(self.sections | {kind: self._section(kind, block)})

    def _offered(self, sections: dict[str, Editor]) -> None:
        if self.complain(self.commit({name: item.value for name, item in sections.items()})):
            self.sections = sections
            self._lay()

    def _lay(self) -> None:
        if not hasattr(self, "_body"):
            return
        self._body.children = [_removable(item, partial(self.remove, name)) for name, item in self.sections.items()]
        self.pick.options = self._addable()


def editor_for(spec: Spec, annotation: Any, value: Any, metadata: Sequence[Any]) -> Editor:
    """Return the editor for a field by its annotation, or by its value where the annotation is open."""
    inner, optional, own = _unwrapped(annotation)
    metadata = [*own, *metadata]
    if optional:
        start = _start(inner, _typed(spec, inner, metadata)) if value is None else value
        return OptionalField(spec, value, lambda item: editor_for(spec, inner, item, metadata), start)
    nested = _nested(spec, inner, value)
    if nested is not None:
        return nested
    spec = _typed(spec, inner, metadata)
    if inner is bool:
        return BoolField(spec, value)
    if get_origin(inner) is Literal:
        return ChoiceField(spec, value, get_args(inner)) if len(get_args(inner)) > 1 else Fixed(spec, value)
    if inner in (int, float):
        return NumberField(spec, value, whole=inner is int)
    return TextField(spec, value) if inner is str else JsonField(spec, value)


class Fixed(Editor):
    """A value that has only one form; it is shown and kept."""

    def controls(self) -> Sequence[w.Widget]:
        """Return the value as text."""
        return [w.HTML(f"<span>{escape(self.value)}</span>")]


def _nested(spec: Spec, annotation: Any, value: Any) -> Editor | None:
    """Return the editor of a model, a list of models or a map of models, else None."""
    if isinstance(value, Block) and value.kind:
        return KindEditor(spec, value)
    if isinstance(value, BaseModel):
        return Form(spec, value)
    item = next((part for part in get_args(annotation) if isinstance(part, type) and issubclass(part, BaseModel)), None)
    if isinstance(value, (list, tuple)) and (item or any(isinstance(x, BaseModel) for x in value)):
        return RowsEditor(spec, value, item if item and not _needs(item) else None)
    if isinstance(value, Mapping) and (item or any(isinstance(x, BaseModel) for x in value.values())):
        first = item or next(type(x) for x in value.values() if isinstance(x, BaseModel))
        role = getattr(first, "role", None) if issubclass(first, Block) else None
        return SectionsEditor(spec, value, role)
    return None


def _kind_source(value: BaseModel) -> str:
    """Return the field whose block gives a model's `kind`, if the model repeats it."""
    fields = type(value).model_fields
    blocks = [name for name in fields if isinstance(getattr(value, name), Block)]
    return blocks[0] if "kind" in fields and len(blocks) == 1 else ""


def _needs(model: type[BaseModel]) -> bool:
    """Return whether a model cannot be made without arguments."""
    return any(info.is_required() for info in model.model_fields.values()) or (
        issubclass(model, Block) and not model.kind
    )


def _unwrapped(annotation: Any) -> tuple[Any, bool, list[Any]]:
    """Return the annotation without Annotated and None, whether None was allowed, and the metadata found."""
    if get_origin(annotation) is Annotated:
        inner, optional, own = _unwrapped(get_args(annotation)[0])
        return inner, optional, [*own, *annotation.__metadata__]
    if get_origin(annotation) in (Union, types.UnionType):
        parts = [part for part in get_args(annotation) if part is not type(None)]
        optional = len(parts) < len(get_args(annotation))
        if optional and len(parts) == 1:
            inner, _, own = _unwrapped(parts[0])
            return inner, True, own
        return Any, optional, []
    return annotation, False, []


def _typed(spec: Spec, annotation: Any, metadata: Sequence[Any]) -> Spec:
    """Return the spec with its adapter and the bounds found in the metadata."""
    low = next((float(m.ge if isinstance(m, Ge) else m.gt) for m in metadata if isinstance(m, (Ge, Gt))), None)  # type: ignore[arg-type]
    high = next((float(m.le if isinstance(m, Le) else m.lt) for m in metadata if isinstance(m, (Le, Lt))), None)  # type: ignore[arg-type]
    full: Any = Annotated[(annotation, *metadata)] if metadata else annotation
    return Spec(spec.name, spec.title, spec.help, spec.unit, low, high, TypeAdapter[Any](full), spec.inherited)


def _spec(name: str, info: FieldInfo, inherited: str) -> Spec:
    extra = info.json_schema_extra if isinstance(info.json_schema_extra, dict) else {}
    title = info.title or name.replace("_", " ").capitalize()
    return Spec(name, title, info.description or "", str(extra.get("x-unit", "")), inherited=inherited)


def _start(annotation: Any, spec: Spec) -> Any:
    """Return the value an optional field starts with when it is switched on."""
    if isinstance(annotation, type) and issubclass(annotation, Block) and not annotation.kind:
        return next(cls() for cls in kinds(annotation.role).values() if not _needs(cls))
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return None if _needs(annotation) else annotation()
    if get_origin(annotation) is Literal:
        return get_args(annotation)[0]
    return {bool: False, int: int(spec.low or 1), float: spec.low or 0.1, str: ""}.get(annotation)


def _placed(field: Editor) -> w.Widget:
    """Return the widget of a field; models sit in a section that is built when it is first opened."""
    if not isinstance(field, (Form, KindEditor, RowsEditor, SectionsEditor)):
        return field.widget
    head = w.ToggleButton(value=False, description=field.spec.title, tooltip=f"Show {field.spec.title}")
    head.add_class("sn-chip")
    body = w.VBox([])
    body.add_class("sn-off")

    def _opened(change: Mapping[str, Any]) -> None:
        if change["new"] and not body.children:
            body.children = [field.widget]
        (body.remove_class if change["new"] else body.add_class)("sn-off")

    head.observe(_opened, "value")
    box = w.VBox([head, body])
    box.add_class("sn-formsection")
    return box


def _removable(editor: Editor, remove: Callable[[], None]) -> w.Widget:
    box = w.HBox([editor.widget, _button("Remove", remove)])
    box.add_class("sn-formitem")
    return box


def _button(label: str, action: Callable[[], None]) -> w.Button:
    button = w.Button(description=label, tooltip=label)
    button.add_class("sn-btn")
    button.on_click(lambda _: action())
    return button
