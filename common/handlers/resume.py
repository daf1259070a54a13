"""Checkpoints: the best model, the state to go on from, and going on by running the same command again."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from ignite.engine import Engine, Events

from ..sampling import derive_seed
from .scalars import History

__all__ = ["Resume"]


class Resume:
    """Write and read a run folder, so that the same command on the same folder goes on as if never stopped.

    Files: `model.pt` {"model": weights of `publish`}, of the epoch with the best `key_metric`; `last.pt`, everything
    that the next epoch needs; `epochs/NNNN.pt`, weights of the last `keep_last` epochs; `settings.json`.

    Random numbers are set anew at each epoch from (seed, epoch, rank), so they need no saving.

    Args:
        output_dir: run folder.
        bundle: name of the bundle, for those who load the model.
        settings: what may not change between the first start and a later one.
        seed: of all random numbers of the training.
        history: of the run, which tells the best epoch.
        key_metric: column of the history; `mode` "max" or "min" says which way is better.
        publish: the network whose weights become model.pt.
        trained: the network that is trained, if `publish` is an average of it; both start from `pretrained`.
        partners: names in `state` that start from last.pt of the run `pretrained`: networks that were trained against
            one another and are of use together only, such as those of CycleGAN. None: model.pt starts `publish`.
        state: everything with a state_dict that the next epoch depends on: networks, optimisers, pools, ...
        alike: settings that must be those of `pretrained`, since they say what its weights mean.
        keep_last: how many epochs' weights to keep (100 in the paper's protocol).
        save_seconds: time between two writings of last.pt; a killed run repeats at most that much.
    """

    def __init__(
        self,
        output_dir: str,
        bundle: str,
        settings: Mapping[str, Any],
        seed: int,
        history: History,
        key_metric: str,
        mode: str,
        publish: torch.nn.Module,
        state: Mapping[str, Any],
        keep_last: int = 0,
        save_seconds: float = 60,
        pretrained: str | None = None,
        trained: torch.nn.Module | None = None,
        partners: Sequence[str] = (),
        alike: Sequence[str] = (),
    ):
        self.folder = Path(output_dir)
        self.bundle, self.settings, self.seed = bundle, json.loads(json.dumps(settings)), seed
        self.history, self.key_metric, self.mode = history, key_metric, mode
        self.publish, self.trained, self.state = publish, trained, dict(state)
        self.keep_last, self.save_seconds, self.pretrained = keep_last, save_seconds, pretrained
        self.partners, self.alike = tuple(partners), tuple(alike)
        self.rank = dist.get_rank() if dist.is_available() and dist.is_initialized() else 0
        self._saved_at = time.monotonic()

    def attach(self, engine: Engine) -> None:
        """Load what is there and make the engine go on from it. Attach this last: it saves what the others changed.

        Raises:
            ValueError: the folder holds a run of other settings, or of another bundle; an epoch is empty.
        """
        if engine.state.epoch_length == 0:
            raise ValueError("an epoch has fewer cases than a batch: lower --batch_size or raise --draws_per_epoch.")
        self._refuse_other_settings()
        last = self.folder / "last.pt"
        if last.is_file():
            self._restore(engine, last)
        elif self.pretrained:
            self._start_from(Path(self.pretrained))
        if self.rank == 0:
            self.folder.mkdir(parents=True, exist_ok=True)
            content = {"bundle": self.bundle, "settings": self.settings}
            _write_text(self.folder / "settings.json", json.dumps(content, indent=1))
        engine.add_event_handler(Events.EPOCH_STARTED, self._seed)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._save)
        engine.add_event_handler(Events.COMPLETED, self._finish)

    def _seed(self, engine: Engine) -> None:
        seed = derive_seed(self.seed, engine.state.epoch, self.rank)
        random.seed(seed)
        np.random.seed(seed)  # noqa: NPY002 - third-party code draws from it
        torch.manual_seed(seed)

    def _refuse_other_settings(self) -> None:
        path = self.folder / "settings.json"
        if not path.is_file():
            return
        found = json.loads(path.read_text())
        if found["bundle"] != self.bundle:
            raise ValueError(
                f"{self.folder} holds a run of {found['bundle']}, not of {self.bundle}. Use another folder."
            )
        if unknown := sorted(set(self.settings) - set(found["settings"])):
            raise ValueError(
                f"{self.folder} holds a run of a version that did not know {', '.join(unknown)}. Go on with it by that "
                "version (its commit is in environment.json), or give another --output_dir to begin a new one."
            )
        keys = sorted(set(found["settings"]) | set(self.settings))
        changed = [
            f"{key}: {found['settings'].get(key)!r} -> {self.settings.get(key)!r}"
            for key in keys
            if found["settings"].get(key) != self.settings.get(key)
        ]
        if changed:
            raise ValueError(
                f"{self.folder} holds a run with other settings ({'; '.join(changed)}). Give the settings of that run "
                "to go on with it, or another --output_dir to begin a new one."
            )

    def _restore(self, engine: Engine, path: Path) -> None:
        content = torch.load(path, map_location=engine.state.device, weights_only=True)
        for name, part in self.state.items():
            part.load_state_dict(content["state"][name])
        self.history.restore(content["history"])
        engine.state.epoch = content["epoch"]
        engine.state.iteration = content["epoch"] * engine.state.epoch_length
        if content["early"] or content["epoch"] >= engine.state.max_epochs:
            print(f"{self.folder}: already finished after {content['epoch']} epochs; nothing to do.")
            engine.run = lambda: None  # ignite would take a finished state for a fresh start and train again
            return
        print(f"{self.folder}: going on after epoch {content['epoch']}.")

    def _start_from(self, run: Path) -> None:
        path = run / "model.pt" if run.is_dir() else run
        if not path.is_file():
            raise FileNotFoundError(f"--pretrained {run}: no model.pt there. Give the folder of a finished run.")
        weights = torch.load(path, map_location="cpu", weights_only=True)["model"]
        if self.alike:
            found = json.loads(path.with_name("settings.json").read_text())["settings"]
            for key in self.alike:
                if found.get(key) != self.settings[key]:
                    raise ValueError(
                        f"--pretrained {run}: was trained with {key} {found.get(key)!r}, this run has "
                        f"{self.settings[key]!r}: its networks speak another language. Give --{key} {found.get(key)}."
                    )
        last = path.with_name("last.pt")
        if self.partners and not last.is_file():
            raise FileNotFoundError(f"--pretrained {run}: no last.pt there, which holds {', '.join(self.partners)}.")
        try:
            for network in filter(None, () if self.partners else (self.publish, self.trained)):
                network.load_state_dict(weights)
            state = torch.load(last, map_location="cpu", weights_only=True)["state"] if self.partners else {}
            if lacking := [name for name in self.partners if name not in state]:
                raise ValueError(f"--pretrained {last}: holds no {', '.join(lacking)}. Train it with this version.")
            for name in self.partners:
                self.state[name].load_state_dict(state[name])
        except RuntimeError as error:
            raise ValueError(
                f"--pretrained {path}: its network differs from the one configured here. {error}"
            ) from error

    def _save(self, engine: Engine) -> None:
        if self.rank:
            return
        epoch = engine.state.epoch
        best = self.history.best(self.key_metric, self.mode)
        if best is None or best[0] == epoch:
            save_weights(self.publish, self.folder / "model.pt")
        if self.keep_last:
            save_weights(self.publish, self.folder / "epochs" / f"{epoch:04d}.pt")
            (self.folder / "epochs" / f"{epoch - self.keep_last:04d}.pt").unlink(missing_ok=True)
        if time.monotonic() - self._saved_at >= self.save_seconds:
            self._write_last(engine, finished=False)

    def _finish(self, engine: Engine) -> None:
        if self.rank == 0:
            self._write_last(engine, finished=True)

    def _write_last(self, engine: Engine, finished: bool) -> None:
        content = {
            "epoch": engine.state.epoch,
            "early": finished and engine.state.epoch < engine.state.max_epochs,
            "history": self.history.rows,
            "state": {name: part.state_dict() for name, part in self.state.items()},
        }
        _write_tensors(self.folder / "last.pt", content)
        self._saved_at = time.monotonic()


def save_weights(network: torch.nn.Module, path: Path) -> None:
    """Write {"model": state_dict}, tensors only, on the CPU and contiguous, in one move."""
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    _write_tensors(path, {"model": weights})


def _write_tensors(path: Path, content: dict) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}")
    torch.save(content, temporary)
    temporary.replace(path)


def _write_text(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}")
    temporary.write_text(text)
    temporary.replace(path)
