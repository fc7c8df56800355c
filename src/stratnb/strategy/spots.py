"""Spots of pydantic models: which model, annotation and bounds stand at the location of an error."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

__all__ = ["BOUNDS", "Spot", "fits", "spot_of", "words_of"]

BOUNDS = (("gt", "above"), ("ge", "at least"), ("lt", "below"), ("le", "at most"))


class Spot:
    """The annotation and the constraints at one place of a model."""

    def __init__(self, annotation: Any, metadata: list[Any], extra: Any = None) -> None:
        self.annotation, self.metadata, self.extra = annotation, metadata, extra

    def bounds(self) -> dict[str, float]:
        """Return the numeric bounds by name."""
        return {
            name: float(getattr(item, name))
            for item in self.metadata
            for name, _ in BOUNDS
            if getattr(item, name, None) is not None
        }

    def is_fraction(self) -> bool:
        """Tell whether the unit is a fraction, or the upper bound is at most 1."""
        unit = self.extra.get("x-unit") if isinstance(self.extra, dict) else None
        bounds = self.bounds()
        return unit == "fraction" or (unit is None and min(bounds.get("le", math.inf), bounds.get("lt", math.inf)) <= 1)


def spot_of(model: type[BaseModel], loc: tuple[str | int, ...]) -> tuple[type[BaseModel] | None, Spot]:
    """Return the model that holds the last key of a location, and the spot there."""
    holder: type[BaseModel] | None = model
    spot = Spot(model, [])
    for step in loc:
        if isinstance(step, int):
            args = [arg for part in _options(spot.annotation) for arg in get_args(part) if arg is not Ellipsis]
            spot = _unwrapped(args[0]) if args else Spot(None, [])
            continue
        holder = next((part for part in _options(spot.annotation) if _is_model(part)), None)
        info = holder.model_fields.get(step) if holder else None
        if info is None:
            return holder, Spot(None, [])
        spot = Spot(info.annotation, list(info.metadata), info.json_schema_extra)
    return holder, spot


def _unwrapped(annotation: Any) -> Spot:
    """Return the spot of an element type, with the constraints of an Annotated."""
    if get_origin(annotation) is not Annotated:
        return Spot(annotation, [])
    inner, *metadata = get_args(annotation)
    extra = next((item.json_schema_extra for item in metadata if isinstance(item, FieldInfo)), None)
    flat = [part for item in metadata for part in (item.metadata if isinstance(item, FieldInfo) else [item])]
    return Spot(inner, flat, extra)


def _options(annotation: Any) -> Iterator[Any]:
    """Yield the members of a union, or the annotation itself."""
    if get_origin(annotation) in {Union, UnionType}:
        for part in get_args(annotation):
            yield from _options(part)
    else:
        yield annotation


def _is_model(part: Any) -> bool:
    return isinstance(part, type) and issubclass(part, BaseModel)


def words_of(spot: Spot) -> list[str]:
    """Return the words of a Literal."""
    return [str(arg) for part in _options(spot.annotation) for arg in get_args(part)]


def fits(value: float, bounds: Mapping[str, float]) -> bool:
    """Tell whether a number is within bounds."""
    low = value > bounds.get("gt", -math.inf) and value >= bounds.get("ge", -math.inf)
    return low and value < bounds.get("lt", math.inf) and value <= bounds.get("le", math.inf)
