"""Scores of answers that are JSON objects: is it one, is it the right one, and is each field right.

The rule, for all of them: an answer counts as read if it is one JSON object (RFC 8259) and nothing else, white space
around it aside. Text in front or behind, a fence of Markdown, a second object, a key that stands twice, and ``NaN`` or
``Infinity``, which are no JSON, make it unreadable, and then nothing in it is right. Of an object that can be read, the
order of keys and white space between them don't count. Values are compared as JSON: ``1`` and ``1.0`` are one number,
``"1"`` and ``true`` are others, texts must agree in every character, lists in their order.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from ftlib.argument_checks import checked, each, one_text
from ftlib.errors import DataError
from ftlib.evaluation.confidence import Interval
from ftlib.evaluation.metrics import check_pairs
from ftlib.evaluation.scores import Score

VALID, MATCH = "json_valid", "json_match"


@checked(predictions=each(one_text), references=each(one_text))
def json_scores(predictions: Sequence[str], references: Sequence[str]) -> dict[str, Interval]:
    """Hold answers against JSON objects, field by field (each score 0 to 1; higher is better).

    What counts as right is said at the top of :mod:`ftlib.evaluation.json_answers`. A field that the answer lacks is
    wrong; one that the reference lacks makes the whole wrong, and no other field.

    Args:
        predictions: What the model wrote.
        references: What it should have written: JSON objects, all with the same fields.

    Returns:
        By name: ``json_valid``, the share of answers that are one JSON object; ``json_match``, of those that are the
        right one; and for each field, in the order of the first reference, ``json_<field>_match``. Each with its 95 %
        bootstrap interval.

    Raises:
        DataError: There are no rows, or not as many of one as of the other; a reference is no JSON object; or two
            differ in their fields.

    >>> found = json_scores(['{"order": null, "name": "Ida"}', "Ida"], ['{"name": "Ida", "order": null}'] * 2)
    >>> {name: interval.value for name, interval in found.items()}
    {'json_valid': 0.5, 'json_match': 0.5, 'json_name_match': 0.5, 'json_order_match': 0.5}
    """
    check_pairs(predictions, references)
    return {name: one.interval(predictions, references) for name, one in make_json_scores(references).items()}


@checked(references=each(one_text))
def make_json_scores(references: Sequence[str]) -> dict[str, Score]:
    """Return the scores that suit some references, by name, as :func:`json_scores` has them.

    Raises:
        DataError: As there.
    """
    fields = _fields(references)
    found = [_measure(VALID, "valid JSON", _is_valid), _measure(MATCH, "JSON, all fields right", _is_same)]
    found += [_measure(f"json_{one}_match", f"JSON, {one} right", partial(_has_same_field, one)) for one in fields]
    return {one.name: one for one in found}


def mostly_objects(references: Sequence[str]) -> bool:
    """Tell whether more than half of some references are JSON objects, so that JSON scores were probably meant.

    >>> mostly_objects(['{"topic": "defect"}', '{"topic": "advice"}', "advice"])
    True
    """
    return 2 * sum(read_object(text) is not None for text in references) > len(references)


def read_object(text: str) -> dict[str, Any] | None:
    """Read a text that is one JSON object by the rule above; None for any other.

    >>> read_object(' {"topic": "defect"}')
    {'topic': 'defect'}
    >>> read_object('{"topic": "defect"} I hope that this helps.') is None
    True
    """
    found, _ = _read(text)
    return found


def _read(text: str) -> tuple[dict[str, Any] | None, str]:
    """Return the object, or none and why."""
    try:
        found = _DECODER.decode(text)
    except json.JSONDecodeError as error:
        return None, f"{error.msg} at character {error.pos}"
    except RecursionError:
        return None, "it is nested too deeply"
    except ValueError as error:  # a key twice, no number, or a whole number of thousands of digits
        return None, str(error)
    return (found, "") if isinstance(found, dict) else (None, f"it is {_KINDS[type(found)]}")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"the key {key!r} stands twice")
        found[key] = value
    return found


def _no_number(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


_DECODER = json.JSONDecoder(object_pairs_hook=_once, parse_constant=_no_number)
_KINDS = {
    list: "a list",
    str: "a text in quotes",
    int: "a number",
    float: "a number",
    bool: "a single truth value",
    type(None): "null",
}


def _fields(references: Sequence[str]) -> list[str]:
    """Return the fields that all references have."""
    if not len(references):
        raise DataError("there are no references to compare with: give at least one JSON object")
    fields: list[str] | None = None
    for row, text in enumerate(references):
        found, why = _read(text)
        if found is None:
            raise DataError(
                f"references, row {row} (from 0): expected one JSON object, found {text!r:.60} ({why}): JSON "
                "scores need references that are JSON objects"
            )
        fields = list(found) if fields is None else fields
        if set(found) != set(fields):
            raise DataError(
                f"references, row {row} (from 0): the fields are {_named(found)}, those of row 0 {_named(fields)}: "
                "give every row the same fields, with null where there is no value"
            )
    return fields or []


def _named(fields: Sequence[str] | Mapping[str, Any]) -> str:
    return ", ".join(map(repr, fields)) or "none"


def _measure(name: str, title: str, is_right: Callable[[Any, Any], bool]) -> Score:
    def rate(predictions: Sequence[str], references: Sequence[str]) -> list[float]:
        pairs = zip(map(read_object, predictions), map(read_object, references), strict=True)
        return [float(is_right(prediction, reference)) for prediction, reference in pairs]

    return Score(name, title, (0, 1), "higher", rate)


def _is_valid(prediction: Any, reference: Any) -> bool:
    return prediction is not None


def _is_same(prediction: Any, reference: Any) -> bool:
    return prediction is not None and _same(prediction, reference)


def _has_same_field(field: str, prediction: Any, reference: Any) -> bool:
    return prediction is not None and field in prediction and _same(prediction[field], reference[field])


def _same(first: Any, second: Any) -> bool:
    """Compare two values as JSON: in Python, true equals 1."""
    if isinstance(first, dict) and isinstance(second, dict):
        return first.keys() == second.keys() and all(_same(value, second[key]) for key, value in first.items())
    if isinstance(first, list) and isinstance(second, list):
        return len(first) == len(second) and all(map(_same, first, second))
    return isinstance(first, bool) == isinstance(second, bool) and bool(first == second)
