from __future__ import annotations

import re
import sys

import pytest

from common.command_line import run_command

calls: list[tuple] = []


@pytest.fixture(autouse=True)
def _no_calls_yet():
    calls.clear()


def draw(model: str, size: tuple[int, int, int] = (8, 8, 4), seed: int = 1, share: float = 0.5, quick: bool = False):
    """Draw something.

    Args:
        model: folder of a run.
        size: voxels.
        seed: of everything random.
        share: of the cases.
        quick: leave out the slow part.
    """
    calls.append((model, size, seed, share, quick))
    return {"returned": "value"}


def fail(data: str, subjects: int | dict = 3):
    raise ValueError(f"{data}: expected 3, found {subjects}.")


def interrupt():
    raise KeyboardInterrupt


COMMANDS = {"draw": draw, "fail": fail, "interrupt": interrupt}


def run(*arguments: str) -> int:
    """Exit code of a command line."""
    try:
        run_command(COMMANDS, arguments)
    except SystemExit as stop:
        return stop.code or 0
    return 0


def test_values_arrive_with_their_types():
    assert run("draw", "--model", "runs/a", "--size", "64,48,16", "--seed=3", "--share", "1", "--quick") == 0

    assert calls == [("runs/a", (64, 48, 16), 3, 1, True)]


def test_what_comes_before_the_first_flag_fills_the_first_parameter():
    assert run("draw", "runs/a", "--seed", "-2") == 0
    assert calls == [("runs/a", (8, 8, 4), -2, 0.5, False)]


def test_a_folder_named_like_a_number_stays_text():
    run("draw", "--model", "2024")

    assert calls[0][0] == "2024"


def test_a_letter_stands_for_the_only_flag_that_begins_with_it():
    assert run("draw", "-m", "runs/a", "-q") == 0
    assert calls == [("runs/a", (8, 8, 4), 1, 0.5, True)]


def test_returned_values_are_not_printed(capsys):
    run("draw", "--model", "a")

    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["draw", "--model", "a", "--sizee", "4,4,4"], r"--sizee is not a flag.* Did you mean --size\? Flags: --model"),
        (["draw", "--modle=a"], r"--modle is not a flag of this command. Did you mean --model\?"),
        (["draw", "--seed", "1"], "--model missing"),
        (["draw", "--model"], "--model needs a value"),
        (["draw", "--model", "--seed", "1"], "--model needs a value"),
        (["draw", "--model", ""], "--model is empty"),
        (["draw", "--model", "a", "--model", "b"], "--model is given twice"),
        (["draw", "--model", "a", "b"], "unexpected 'b'"),
        (["draw", "--model", "a", "-s", "1"], "--s is not a flag"),  # size, seed or share
        (["draw", "--model", "a", "--seed", "one"], "--seed is 'one'; expected a whole number"),
        (["draw", "--model", "a", "--seed", "1.5"], "--seed is '1.5'; expected a whole number"),
        (["draw", "--model", "a", "--share", "half"], "--share is 'half'; expected a number"),
        (["drow"], r"'drow' is not a command. Did you mean draw\? Commands: draw, fail, interrupt"),
        ([], "a command is missing. Commands: draw"),
    ],
)
def test_bad_command_line_stops_before_the_function_runs(arguments, message, capsys):
    assert run(*arguments) == 2

    assert calls == []
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert "Traceback" not in error
    assert re.search(message, error)


def test_errors_of_the_command_are_printed_without_traceback(capsys):
    assert run("fail", "--data", "d", "--subjects", "{normal: 3, test: 4}") == 2
    assert capsys.readouterr().err == "error: d: expected 3, found {'normal': 3, 'test': 4}.\n"


def test_traceback_is_shown_on_request(monkeypatch):
    monkeypatch.setenv("TRACEBACK", "1")

    with pytest.raises(ValueError, match="expected 3"):
        run("fail", "--data", "d")


def test_interrupted_command_says_how_to_go_on(capsys):
    assert run("interrupt") == 130
    assert "run the same command again to continue" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["--help"], ["draw", "--help"], ["draw", "-h"]])
def test_help_names_commands_and_flags(arguments, capsys):
    assert run(*arguments) == 0

    shown = "".join(capsys.readouterr())
    assert "draw" in shown
    assert "FIRE_METADATA" not in shown
    assert len(arguments) == 1 or "folder of a run" in shown
    assert calls == []


def test_help_does_not_run_a_command_without_parameters(capsys):
    assert run("interrupt", "--help") == 0
    assert "interrupt" in "".join(capsys.readouterr())


def test_one_function_needs_no_command_name(capsys):
    run_command(draw, ["--model", "a"])

    assert len(calls) == 1
    with pytest.raises(SystemExit):
        run_command(draw, ["--modell", "a"])
    assert "Did you mean --model?" in capsys.readouterr().err


def test_a_command_given_by_name_is_imported_when_it_is_called_and_not_before(monkeypatch, capsys, tmp_path):
    (tmp_path / "heavy_module.py").write_text(
        "def lift(weight: int) -> None:\n    'Lift it.'\n    print('lifted', weight)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    lazy = {"draw": draw, "lift": "heavy_module:lift"}

    run_command(lazy, ["--help"])
    run_command(lazy, ["draw", "--model", "a"])
    assert "heavy_module" not in sys.modules
    assert "Commands: draw, lift" in capsys.readouterr().out

    run_command(lazy, ["lift", "--weight", "3"])
    assert "lifted 3" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        run_command(lazy, ["lift", "--wait", "3"])
    assert "Did you mean --weight?" in capsys.readouterr().err
