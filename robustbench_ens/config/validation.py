"""Groups of settings: their types, and errors of pydantic rewritten in the terms of TOML files."""

from __future__ import annotations

import difflib
import math
import re
from fractions import Fraction
from types import UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from robustbench_ens.core.limits import LARGEST_COUNT, LARGEST_WEIGHT, MOST_PIXELS, shown
from robustbench_ens.errors import UserError

# Longer exponents are refused: for 1e999999999, `Fraction` builds an integer of that many digits.
_SHORT_NUMBER = re.compile(r"[^eE]{1,60}([eE][+-]?[0-9]{1,3})?")


def _number(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("expected a number")
    if isinstance(value, str):
        text = value.replace(" ", "")
        try:
            if not _SHORT_NUMBER.fullmatch(text):
                raise ValueError
            return float(Fraction(text))
        except (ValueError, ZeroDivisionError, OverflowError):
            raise ValueError('expected a number or a fraction such as "8/255"') from None
    return value


Number = Annotated[float, BeforeValidator(_number)]
"""A float, which may be given as text such as ``"8/255"``."""


def finite(value: Any) -> Any:
    """Return ``value``, and check that every number in it is finite, at any depth.

    Raises:
        ValueError: a number is not finite.
    """
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("expected a finite number")
    if isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            finite(item)
    return value


Eps = Annotated[Number, Field(gt=0, le=1)]
"""A radius or step size in pixel scale."""

Count = Annotated[int, Field(ge=1, le=LARGEST_COUNT)]
Weight = Annotated[Number, Field(ge=0, le=LARGEST_WEIGHT)]
"""The weight of a loss term."""

MaxPixels = Annotated[int, Field(ge=1, le=MOST_PIXELS)]
"""Height times width of the largest image that is read, a guard against files that decode to gigabytes."""

Precision = Literal["fp32", "bf16"]
"""The precision of networks, where ``bf16`` is PyTorch's autocast."""

ChosenOn = Literal["all", "selection", "none", "unknown"]
"""The test images whose results were looked at when settings were chosen: any, or none outside the selection half."""


class Settings(BaseModel):
    """A frozen group of settings. Unknown keys, infinite numbers and values of another type are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, strict=True)


AnySettings = TypeVar("AnySettings", bound=Settings)


def _walk(model: type[BaseModel], location: tuple[Any, ...]) -> tuple[list[str], type[BaseModel] | None]:
    """Return the keys in a location of pydantic's, and the group of settings that contains the last key.

    Pydantic adds parts of its own, such as the name of a validator or of the alternative of a union that it tried.
    """
    annotation: Any = model
    parts: list[str] = []
    group = None
    for part in location:
        if str(part).startswith("function-"):
            continue
        group = None
        if get_origin(annotation) is Annotated:
            annotation = get_args(annotation)[0]
        if get_origin(annotation) in (Union, UnionType):
            options = [option for option in get_args(annotation) if option is not type(None)]
            if len(options) > 1:  # this part is the name of the alternative that was tried, not a key
                annotation = None
                continue
            annotation = options[0]
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            group = annotation
            field = group.model_fields.get(str(part))
            annotation = field.annotation if field else None
        else:  # the item of a tuple, the value of a table
            arguments = get_args(annotation)
            annotation = arguments[-1 if get_origin(annotation) is dict else 0] if arguments else None
        parts.append(str(part))
    return parts, group


WORDS = {
    "tuple_type": "a list",
    "list_type": "a list",
    "dict_type": "a table",
    "model_type": "a table",
    "string_type": "text",
    "bool_type": "true or false",
    "greater_than": "a number greater than {gt}",
    "greater_than_equal": "a number greater than or equal to {ge}",
    "less_than": "a number less than {lt}",
    "less_than_equal": "a number less than or equal to {le}",
    "too_short": "at least {min_length} item",
    "too_long": "at most {max_length} items",
    "string_too_short": "text of at least {min_length} character",
}
"""The expectations in pydantic's errors, in the terms of TOML files."""


def _whole(value: Any) -> Any:
    """Return ``value``, as an integer if it is a whole number."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _expected(error: Any) -> str:
    if error["type"] in WORDS:
        context = error.get("ctx", {}).items()
        return WORDS[error["type"]].format(**{key: _whole(v) for key, v in context})
    message: str = error["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    return message.removeprefix("expected ")


def explain(error: ValidationError, model: type[BaseModel], where: str, prefix: tuple[str, ...] = ()) -> UserError:
    """Return pydantic's errors as one line with file, key, expected and found value, and the valid choices."""
    found: dict[str, list[Any]] = {}  # by key: one error, or one for each alternative of its type
    for item in error.errors(include_url=False):
        found.setdefault(".".join((*prefix, *_walk(model, item["loc"])[0])), []).append(item)
    # A missing key or item is often only the consequence of a misspelt key, which is the better error to show first.
    follows = [key for key, items in found.items() if items[0]["type"] in ("missing", "too_short")]
    key = next((key for key in found if key not in follows), next(iter(found)))
    items = found.pop(key)
    first = items[0]
    others = [other for other in found if other not in follows]
    suffix = f" (and {len(others)} more)" if others else ""
    parts, group = _walk(model, first["loc"])
    if first["type"] == "extra_forbidden":
        valid = sorted(group.model_fields) if group else []
        close = difflib.get_close_matches(parts[-1], valid, n=1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        return UserError(f"{where}: unknown key {key!r}; {hint}valid keys: {', '.join(valid) or 'none'}{suffix}")
    if first["type"] == "missing":
        return UserError(f"{where}: key {key!r} is missing{suffix}")
    where = f"{where}: key {key!r}" if key else where
    got = "" if isinstance(first["input"], dict) and not key else f", got {shown(first['input'])}"
    return UserError(f"{where}: expected {' or '.join(map(_expected, items))}{got}{suffix}")


def validate(
    model: type[AnySettings], content: dict[str, Any], where: str, prefix: tuple[str, ...] = ()
) -> AnySettings:
    """Validate ``content`` against ``model``.

    Raises:
        UserError: the content is invalid. The line names ``where``, the key, the expectation and the found value.
    """
    try:
        return model.model_validate(content)
    except ValidationError as error:
        raise explain(error, model, where, prefix) from None
