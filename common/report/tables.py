"""Scores, training curves and provenance on the page."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd

from ..bundles import sha256
from ..results import SIZE_BINS, summary
from ..stage_state import finished_stages
from . import figures
from .folder import Section, StudyFolder, Table, last_attempt
from .forests import forest_panels, forest_plot
from .numbers import METRIC_TITLES, differences, forest, headline, headline_arm, number, seeds_table, spread
from .published import PAPER_METRICS, paper_row

__all__ = ["losses", "provenance", "scores"]

FEW_ARMS = 5  # of which all metrics and differences still fit side by side
FEW_COMMANDS = 3
SHORT = 12  # characters of a hash that are shown; summary.json has all


def scores(study: StudyFolder, section: Section) -> None:
    """Test scores of all arms: tables, paired differences, forest plot."""
    frame = study.results
    section.missing += [f"score of {run}" for run in study.open_scores()]
    if section.missing:
        section.notes.append("Differences are taken over the seeds that both arms have been scored with so far.")
    tables = summary(frame)
    compared = differences(frame, study.settings)
    section.numbers = {
        **{name: records(table) for name, table in tables.items()},
        "differences": compared,
        "seeds": records(seeds_table(frame, study.settings)),
    }
    try:
        section.numbers["headline"] = headline(frame, study.settings)
    except ValueError as error:
        section.missing.append(str(error))
    arms = [arm for arm in study.titles if arm in set(frame["arm"])]
    entries = forest(frame, study.settings)
    section.numbers["forest"] = entries
    if entries:
        _draw_forest(study, section, entries)
    section.tables = [
        _paper_layout(study, arms, tables["metrics"]),
        *([_metrics(study, arms, tables["metrics"], compared)] if len(arms) <= FEW_ARMS else []),
        _misses(study, tables["misses"]),
        _sizes(study, tables["sizes"]),
        _seeds(study, seeds_table(frame, study.settings)),
    ]
    if len(tables["negatives"]):
        section.tables.append(_negatives(study, tables["negatives"]))


def _draw_forest(study: StudyFolder, section: Section, entries: list[dict]) -> None:
    few = len({entry["arm"] for entry in entries}) < FEW_ARMS
    first = f"{'the topmost line' if few else 'the leftmost panel'} of {study.titles[headline_arm(study.settings)]}"
    study.draw(
        section,
        (forest_plot if few else forest_panels)(entries, study.contrasts, study.colours),
        "forest",
        f"Paired differences to {study.titles[study.baseline]}, unless another arm is named",
        "Squares: mean over cases of the paired difference (seeds averaged per case); lines: 95 % interval of the "
        f"bootstrap over seeds x cases, 10,000 draws. Only {first} is the comparison that the study was "
        "made for; the others are exploratory and not corrected for their number.",
        pd.DataFrame(entries),
    )


def _paper_layout(study: StudyFolder, arms: list[str], table: pd.DataFrame) -> Table:
    titles = [METRIC_TITLES[metric] for metric in PAPER_METRICS]
    return Table(
        "All lesion cases, in the order of the paper's Table II: mean ± SD over cases",
        ["arm", *(f"{title.title} ({title.unit})" for title in titles)],
        [[study.titles[arm], *paper_row(table, arm)] for arm in arms],
        "Each case's scores are averaged over seeds first; distances leave out missed lesions.",
    )


def _metrics(study: StudyFolder, arms: list[str], table: pd.DataFrame, compared: list[dict]) -> Table:
    by_key = {(row["arm"], row["metric"]): row for row in compared}
    others = [arm for arm in arms if arm != study.baseline]
    columns = ["metric", *(study.titles[arm] for arm in arms)]
    for arm in others:
        versus = f"{study.titles[arm]} - {study.titles[study.against(arm)]}" if len(others) > 1 else "difference [95 %]"
        columns += [versus, "p (Holm)"]
    rows = []
    for metric, title in METRIC_TITLES.items():
        cells = [f"{title.title} ({title.unit})" if title.unit else title.title]
        for arm in arms:
            row = table.loc[arm, metric] * title.factor
            n = int(table.loc[arm, metric]["n_cases"])
            partly = f"; n = {n}" if n < table.loc[arm, "dice"]["n_cases"] else ""
            cells.append(f"{spread(row['mean'], row['sd'])} ({number(row['median'])}{partly})" if n else "–")
        for arm in others:
            row = by_key.get((arm, metric))
            if row is None:
                cells += ["–", "–"]
                continue
            mean, low, high = (title.factor * row[key] for key in ("mean", "low", "high"))
            cells += [f"{mean:+.1f} [{low:+.1f}, {high:+.1f}]", _p(row["p_holm"])]
        rows.append(cells)
    return Table(
        "All lesion cases: mean ± SD over cases (median)",
        columns,
        rows,
        "Each case's scores are averaged over seeds first. Distances stand twice: without missed lesions (n says how "
        "many cases stay if not all do; a paired difference leaves out cases that either arm missed) and with a miss "
        "counted as the diagonal of the volume. p: Wilcoxon signed-rank over cases, secondary to the interval; Holm's "
        "correction over all arms for Dice, and over all other comparisons of this table together.",
    )


def _misses(study: StudyFolder, table: pd.DataFrame) -> Table:
    rows = [
        [study.titles[arm], *(str(int(row[key])) for key in ("n_seeds", "n_cases", "readings")),
         *(f"{int(row[key])} ({100 * row[key] / row['readings']:.1f} %)" for key in ("empty_predictions", "zero_dice"))]
        for arm, row in table.iterrows()
    ]  # fmt: skip
    columns = ["arm", "seeds", "cases", "readings", "empty predictions", "Dice 0"]
    return Table("Missed lesions", columns, rows, "Readings: cases x seeds.")


def _sizes(study: StudyFolder, table: pd.DataFrame) -> Table:
    columns = ["arm", *(f"{name} (n = {table.xs(name, level='lesion_size')['n_cases'].max()})" for name in SIZE_BINS)]
    rows = []
    for arm in table.index.unique("arm"):
        bins = table.loc[arm]
        rows.append([study.titles[arm], *(_size_cell(bins.loc[name]) for name in SIZE_BINS)])
    return Table("Dice (%) by true lesion volume: mean ± SD (median), share of missed readings", columns, rows)


def _size_cell(row: pd.Series) -> str:
    if not row["n_cases"]:
        return "–"
    median, missed = number(100 * row["dice_median"]), f"{100 * row['empty_share']:.0f} %"
    return f"{spread(100 * row['dice'], 100 * row['dice_sd'])} ({median}), {missed}"


def _seeds(study: StudyFolder, table: pd.DataFrame) -> Table:
    """A row per arm; SD over seeds where there are several."""
    several = len(table) > 1
    rows = []
    for arm in table.columns:
        cells = [number(100 * value) for value in table[arm]] + ([number(100 * table[arm].std())] if several else [])
        against = study.against(arm)
        if against is None:
            rows.append([study.titles[arm], *cells, *(["–"] * len(cells))])
            continue
        gains = 100 * (table[arm] - table[against])
        gained = [number(gain, "+") for gain in gains] + ([number(gains.std())] if several else [])
        rows.append([study.contrasts[arm], *cells, *gained])
    seeds, sd = [f"seed {seed}" for seed in table.index], ["SD"] if several else []
    columns = ["arm", *seeds, *sd, *(f"difference, {seed}" for seed in seeds), *sd]
    title = f"Mean Dice (%) by seed, and difference to {study.titles[study.baseline]} unless another arm is named"
    return Table(title, columns, rows)


def _negatives(study: StudyFolder, table: pd.DataFrame) -> Table:
    rows = [
        [study.titles[arm], str(int(row["n_cases"])),
         f"{100 * row['specificity']:.1f} [{100 * row['low']:.1f}, {100 * row['high']:.1f}]",
         *(f"{row[key]:.2f}" for key in ("false_positive_ml", "false_positive_ml_median", "false_positive_ml_max"))]
        for arm, row in table.iterrows()
    ]  # fmt: skip
    columns = ["arm", "cases", "specificity (%) [95 %]", "false ml: mean", "median", "maximum"]
    note = "A case counts as correct where nothing at all was predicted. Interval: Clopper-Pearson over cases."
    return Table("Cases without a lesion", columns, rows, note)


def losses(study: StudyFolder, section: Section) -> None:
    """Training curves of all runs, one figure per bundle."""
    groups: dict[str, dict[str, pd.DataFrame]] = {}
    for file in sorted(study.path.glob("runs/*/losses.csv")):
        bundle = _json(file.parent / "settings.json").get("bundle", file.parent.name)
        groups.setdefault(bundle, {})[file.parent.name] = table = pd.read_csv(file)
        last = table.iloc[-1].dropna().to_dict() if len(table) else {}
        section.numbers[file.parent.name] = {"bundle": bundle, "epochs": len(table), "last": last}
    for bundle, runs in sorted(groups.items()):
        arms = {run: run.rpartition("_seed")[0] for run in runs}
        colours = {run: study.colours.get(arm, "#333333") for run, arm in arms.items()}
        study.draw(
            section,
            figures.loss_curves(runs, colours, {run: study.titles.get(arm, run) for run, arm in arms.items()}),
            f"losses_{bundle}",
            f"{bundle}, {len(runs)} runs" if len(runs) > 1 else bundle,
            "Means over each epoch; val_... (dashed where it shares a panel): on the validation split.",
            pd.concat([table.assign(run=run) for run, table in runs.items()], ignore_index=True),
        )
    if not groups:
        raise FileNotFoundError("the first epoch of a run (runs/*/losses.csv)")


def provenance(study: StudyFolder, section: Section) -> None:
    """Where the numbers come from: seeds, hashes, versions, readings of the test split, commands, times."""
    runs, environments = {}, {}
    for folder in sorted(path for path in study.path.glob("runs/*") if path.is_dir()):
        settings, environment = _json(folder / "settings.json"), _json(folder / "environment.json")
        runs[folder.name] = {
            "bundle": settings.get("bundle"),
            "seed": settings.get("settings", {}).get("seed"),
            "model_sha256": sha256(folder / "model.pt") if (folder / "model.pt").is_file() else None,
            "commit": environment.get("commit"),
            "command": environment.get("command"),
        }
        versions = {"python": environment.get("python"), **environment.get("packages", {})}
        environments |= {f"{name} {version}": None for name, version in versions.items() if version}
        environments |= {str(environment[key]): None for key in ("platform", "device") if environment.get(key)}
    logs = [study.path / "data" / "test_readings.jsonl", *sorted(study.path.glob("external/*/test_readings.jsonl"))]
    logs += sorted(study.path.glob("results/**/test_readings.jsonl"))  # of data that are shared read-only
    readings = [line for log in logs for line in _lines(log)]
    stages = list(finished_stages(study.path).values())
    hashes = {
        name: sha256(study.path / name)
        for name in ("study.json", "data/dataset.json", "masks/masks.json", "synthetic/dataset.json")
        if (study.path / name).is_file()
    }
    section.numbers = {
        "seeds": study.settings["seeds"], "runs": runs, "environment": list(environments), "files": hashes,
        "test_readings": readings, "stages": stages, "settings": study.settings,
    }  # fmt: skip
    section.notes = [f"Seeds of the runs: {', '.join(map(str, study.settings['seeds']))}."]
    if environments:
        section.notes.append(f"Ran on: {', '.join(environments)}.")
    commands = list(dict.fromkeys(_without_folder(run["command"]) for run in runs.values() if run["command"]))
    section.notes += [f"Command: {command}" for command in commands[:FEW_COMMANDS]]
    if len(commands) > FEW_COMMANDS:
        section.notes.append(f"And {len(commands) - FEW_COMMANDS} more, in summary.json.")
    rows = [
        [
            name,
            run["bundle"] or "–",
            str(run["seed"]),
            (run["model_sha256"] or "–")[:SHORT],
            (run["commit"] or "–")[:SHORT],
        ]
        for name, run in runs.items()
    ]
    by_epoch = sum(line.get("epoch") is not None for line in readings)
    readings_rows = [
        [line.get("time", "–"), Path(line.get("model", "–")).name, line.get("model_sha256", "–")[:SHORT],
         "all" if line.get("limit") is None else str(line["limit"])]
        for line in readings if line.get("epoch") is None
    ]  # fmt: skip
    if by_epoch:
        section.notes.append(f"Besides those below, {by_epoch} readings of the test split were of kept epochs.")
    stage_rows = [
        [line["stage"], f"{line['seconds']:.0f}{last_attempt(line)}", f"{line['peak_gb']:.1f}"] for line in stages
    ]
    total = f"{sum(line['seconds'] for line in stages) / 60:.1f} minutes together. Memory: peak of the process so far."
    if any("attempts" in line for line in stages):
        total += " Where a stage was stopped and went on, the time is that of its last attempt."
    candidates = [
        Table("Runs", ["run", "bundle", "seed", "weights (SHA-256)", "commit"], rows, words=5),
        Table("Files", ["file", "SHA-256"], [[name, value[:SHORT]] for name, value in hashes.items()], words=2),
        Table("Readings of the test split", ["time", "run", "weights (SHA-256)", "cases"], readings_rows, words=3),
        Table("Time per stage", ["stage", "seconds", "peak memory (GB)"], stage_rows, total),
    ]
    section.tables = [table for table in candidates if table.rows]
    empty = [table.title.lower() for table in candidates if not table.rows]
    section.missing += [f"{title}: nothing logged" for title in empty]


def _without_folder(command: str) -> str:
    """A command without the folder that its program lies in, which is of one machine only."""
    program, _, rest = command.partition(" ")
    return f"{Path(program).name} {rest}".strip()


def records(table: pd.DataFrame) -> list[dict]:
    """Rows of a table, its index included, as dictionaries."""
    return table.reset_index().to_dict("records")


def _json(path: Path) -> dict:
    return json.loads(path.read_text()) if path.is_file() else {}


def _lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"{value:.3f}"
