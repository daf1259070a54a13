"""At which centre each person was scanned, from a BIDS participants.tsv."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

__all__ = ["centres_of"]

COLUMNS = ("centre", "center", "site", "site_id", "institution", "hospital")


def centres_of(source: Path) -> dict[str, str]:
    """Centre by participant, with and without "sub-"; {} where no participants.tsv tells.

    The file is looked for in the folder itself and in its `rawdata`. Of several columns the first of `COLUMNS` counts.
    """
    for path in (source / "participants.tsv", source / "rawdata" / "participants.tsv"):
        if not path.is_file():
            continue
        table = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False)
        names = {name.strip().lower(): name for name in table.columns}
        column = next((names[name] for name in COLUMNS if name in names), None)
        if column is None or "participant_id" not in names:
            continue
        found = {}
        for person, centre in zip(table[names["participant_id"]].str.strip(), table[column].str.strip()):
            if centre and centre.lower() != "n/a":
                plain = person.removeprefix("sub-")
                found[plain] = found[f"sub-{plain}"] = centre
        return found
    return {}
