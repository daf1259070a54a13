"""Commands from functions: Python Fire, with the command line checked before anything runs.

Fire calls the function first and complains about a mistyped flag afterwards; hours may lie between the two.
"""

from __future__ import annotations

import difflib
import functools
import importlib
import inspect
import os
import sys
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import fire
from fire.parser import DefaultParseValue

__all__ = ["run_command"]

SCALARS = {str: "text", int: "a whole number", float: "a number", bool: "True or False", type(None): "None"}


def run_command(
    functions: Callable | Mapping[str, Callable | str], arguments: Sequence[str] | None = None, name: str | None = None
) -> None:
    """Run the function that the command line names, with the parameters that it gives as `--name value`.

    What comes before the first flag fills the first parameters (`release NAME --model RUN`). Returned values are not
    printed. Exit codes: 2 for a bad command line or a ValueError or OSError of the command (its message goes to
    stderr; the environment variable TRACEBACK=1 shows where it was raised), 130 for Ctrl-C.

    Args:
        functions: one function, or {command: function}; "module:function" is imported when its command is called, so
            that the list of commands does not wait for PyTorch.
        arguments: the command line after the program; None takes it from sys.argv.
        name: of the program in the help; None takes it from sys.argv.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    try:
        helped = bool({"--help", "-h"} & set(arguments))
        if not callable(functions):
            if helped and arguments[0] not in functions:
                print(_overview(functions))
                return
            functions = {name: _loaded(entry) if name in arguments[:1] else entry for name, entry in functions.items()}
        if helped:
            fire.Fire(functions, command=arguments, name=name)
        else:
            _refuse_bad_arguments(*_chosen(functions, arguments))
            fire.Fire(_prepared(functions), command=arguments, name=name)
    except (ValueError, OSError) as error:
        if os.environ.get("TRACEBACK") == "1":
            raise
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("\nstopped; run the same command again to continue", file=sys.stderr)
        sys.exit(130)


def _loaded(entry: Callable | str) -> Callable:
    if callable(entry):
        return entry
    module, name = entry.split(":")
    return getattr(importlib.import_module(module), name)


def _overview(functions: Mapping[str, Callable | str]) -> str:
    """What the program is, and its commands."""
    what = (sys.modules["__main__"].__doc__ or "").strip()
    return f"{what}\n\nCommands: {', '.join(functions)}; `--help` after one describes it."


def _chosen(functions: Callable | Mapping[str, Callable], arguments: list[str]) -> tuple[Callable, list[str]]:
    """The function that is meant, and its arguments."""
    if callable(functions):
        return functions, arguments
    known = f"Commands: {', '.join(functions)}; `--help` after one describes it."
    if not arguments:
        raise ValueError(f"a command is missing. {known}")
    command, *given = arguments
    if command not in functions:
        raise ValueError(f"{command!r} is not a command.{_suggestion(command, functions)} {known}")
    return functions[command], given


def _refuse_bad_arguments(function: Callable, arguments: list[str]) -> None:
    """Raise ValueError unless the function can be called with these arguments."""
    parameters = inspect.signature(function).parameters
    hints = typing.get_type_hints(function)
    known = f"Flags: {', '.join('--' + name for name in parameters)}."
    given: dict[str, str | None] = {}
    positions = iter(parameters)
    rest = list(arguments)
    while rest:
        argument = rest.pop(0)
        if _is_flag(argument):
            flag, equals, value = argument.lstrip("-").partition("=")
            name = _spelt_out(flag, parameters)
            if not equals:
                value = rest.pop(0) if rest and not _is_flag(rest[0]) else None
            positions = iter(())
            if value is None and name not in parameters and name.removeprefix("no") in parameters:
                name, value = name.removeprefix("no"), "False"
        else:
            name, value = next(positions, None), argument
            if name is None:
                raise ValueError(f"unexpected {argument!r}: expected `--name value`. {known}")
            flag = name
        if name not in parameters:
            raise ValueError(f"--{flag} is not a flag of this command.{_suggestion(name, parameters, '--')} {known}")
        if name in given:
            raise ValueError(f"--{name} is given twice.")
        given[name] = value
        _refuse_bad_value(name, value, hints.get(name, Any))
    required = [name for name, parameter in parameters.items() if parameter.default is parameter.empty]
    missing = [f"--{name}" for name in required if name not in given]
    if missing:
        raise ValueError(f"{' and '.join(missing)} missing. {known}")


def _refuse_bad_value(name: str, text: str | None, hint: Any) -> None:
    """Check a value against the parameter's annotation, where that consists of scalar types."""
    kinds = _kinds(hint)
    if text is None:
        if bool in kinds:
            return
        raise ValueError(f"--{name} needs a value.")
    if not text:
        raise ValueError(f"--{name} is empty. Is a shell variable unset?")
    if not kinds or str in kinds or not kinds <= set(SCALARS):
        return
    value = DefaultParseValue(text)
    if type(value) in kinds or (float in kinds and type(value) is int):
        return
    expected = " or ".join(SCALARS[kind] for kind in SCALARS if kind in kinds)
    raise ValueError(f"--{name} is {text!r}; expected {expected}.")


def _prepared(functions: Callable | Mapping[str, Callable]) -> Any:
    if callable(functions):
        return _silent(functions)
    return {command: _silent(function) for command, function in functions.items() if callable(function)}


def _silent(function: Callable) -> Callable:
    """The function without its return value, which Fire would print, and with text left as text (a folder "2024")."""

    @functools.wraps(function)
    def silent(*arguments: Any, **named: Any) -> None:
        function(*arguments, **named)

    hints = typing.get_type_hints(function)
    texts = [name for name in inspect.signature(function).parameters if _is_text(_kinds(hints.get(name, Any)))]
    return fire.decorators.SetParseFns(**dict.fromkeys(texts, _text_or_none))(silent)


def _text_or_none(text: str) -> str | None:
    return None if text == "None" else text


def _is_text(kinds: set) -> bool:
    return str in kinds and not kinds & {int, float, bool, dict, list, tuple}


def _kinds(hint: Any) -> set:
    """The types that an annotation admits; empty where it says nothing. list[int] counts as list."""
    if hint is Any:
        return set()
    union = typing.get_origin(hint) in (typing.Union, types.UnionType)
    members = typing.get_args(hint) if union else (hint,)
    return {typing.get_origin(member) or member for member in members}


def _is_flag(argument: str) -> bool:
    """As Fire sees it: --name or -n; a negative number is a value."""
    return argument.startswith("--") or (len(argument) > 1 and argument[0] == "-" and argument[1].isalpha())


def _spelt_out(flag: str, parameters: Mapping[str, Any]) -> str:
    """The parameter of a flag. As in Fire, a single letter stands for the only parameter that begins with it."""
    beginning = [name for name in parameters if name.startswith(flag)]
    return beginning[0] if len(flag) == 1 and len(beginning) == 1 else flag.replace("-", "_")


def _suggestion(word: str, known: Sequence[str] | Mapping[str, Any], prefix: str = "") -> str:
    close = difflib.get_close_matches(word, list(known), 1)
    return f" Did you mean {prefix}{close[0]}?" if close else ""
