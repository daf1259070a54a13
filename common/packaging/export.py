"""A trained network as TorchScript and ONNX, compared with the original before either is kept."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from monai.bundle import ConfigParser

from ..bundles import configs_of, load_network, read_settings, sha256

__all__ = ["EXPORTABLE", "export_run"]

EXPORTABLE = ("stroke_unet", "pix2pix_itm", "spade_itm", "cyclegan_itm")
TOLERANCE = 1e-3  # largest absolute difference; images are in [-1, 1]
OPSET = 18


def export_run(model: str | Path, out: str | Path) -> dict[str, dict]:
    """Write OUT/model.ts, OUT/model.onnx and OUT/parity.json.

    Both take any batch size; the spatial size is the run's. The comparison runs batches of 1 and 3, through
    `torch.jit.load` and onnxruntime, on uniform noise for the segmenter and random label maps for translators.

    Args:
        model: run folder of the segmenter or of a translator.
        out: folder, made if it is not there.

    Returns:
        {"torchscript" or "onnx": {"largest_difference", "sha256"}}, for the segmenter also "dice_difference": 1 - Dice
        of both networks' lesions, NaN where neither finds any.

    Raises:
        FileNotFoundError: no run there.
        ValueError: a run that is not exported, files that are there already, or answers that differ by more than 1e-3;
            then nothing is left in OUT.
    """
    run, out = read_settings(model), Path(out)
    if run["bundle"] not in EXPORTABLE:
        raise ValueError(f"{model}: holds a run of {run['bundle']}; exported are {', '.join(EXPORTABLE)}.")
    taken = [str(out / name) for name in ("model.ts", "model.onnx", "parity.json") if (out / name).exists()]
    if taken:
        raise ValueError(f"{', '.join(taken)}: there already, and not overwritten.")
    network = load_network(model)
    out.mkdir(parents=True, exist_ok=True)
    inputs = [example_input(run, batch) for batch in (1, 3)]
    segmenter = run["bundle"] == "stroke_unet"

    found, drafts = {}, {}
    try:
        for form, name, write in (("torchscript", "model.ts", _torchscript), ("onnx", "model.onnx", _onnx)):
            drafts[name] = out / f".draft.{name}"
            answer = write(network, inputs[1], drafts[name])
            found[form] = {**parity(network, answer, inputs, segmenter), "sha256": sha256(drafts[name])}
            if not found[form]["largest_difference"] <= TOLERANCE:
                raise ValueError(f"{model}: {form} differs by {found[form]['largest_difference']:.2g} > {TOLERANCE}.")
        for name, draft in drafts.items():
            draft.replace(out / name)
    finally:
        for draft in drafts.values():
            draft.unlink(missing_ok=True)
    (out / "parity.json").write_text(json.dumps(found, indent=1) + "\n")
    return found


def example_input(run: dict, batch: int) -> torch.Tensor:
    """(batch, channels, *size): what the network of a run takes."""
    parser = ConfigParser()
    parser.read_config(str(configs_of(run["bundle"]) / "inference.json"))
    parser.update({key: value for key, value in run["settings"].items() if key in parser})
    generator = torch.Generator().manual_seed(0)
    size, dims = [int(edge) for edge in parser.get("size")], parser.get("spatial_dims", 2)
    if run["bundle"] == "stroke_unet":
        return torch.rand(batch, 1, *size, generator=generator) * 2 - 1
    labels = parser.get("num_labels")
    channels = parser.get_parsed_content("label_channels") if "label_channels" in parser else labels
    maps = torch.randint(labels, (batch, channels // labels, *size[:dims]), generator=generator)
    one_hot = torch.nn.functional.one_hot(maps, labels).movedim(-1, 2)  # (batch, slices of context, labels, *size)
    return one_hot.flatten(1, 2).float()


def parity(
    network: torch.nn.Module,
    other: Callable[[torch.Tensor], torch.Tensor],
    inputs: list[torch.Tensor],
    segmenter: bool,
) -> dict[str, float]:
    """The largest absolute difference of two networks' answers, and for a segmenter 1 - Dice of their lesions."""
    with torch.no_grad():
        answers = [(network(given), other(given)) for given in inputs]
    wrong = [(tuple(a.shape), tuple(b.shape)) for a, b in answers if a.shape != b.shape]
    if wrong:
        raise ValueError(f"the exported network answers in other shapes: {wrong}.")
    measures = {"largest_difference": max(float((a - b).abs().max()) for a, b in answers)}
    if segmenter:
        first, second = (torch.cat([pair[i].argmax(1).flatten() for pair in answers]) == 1 for i in (0, 1))
        both = int(first.sum() + second.sum())
        measures["dice_difference"] = 1 - 2 * int((first & second).sum()) / both if both else float("nan")
    return measures


def _torchscript(network: torch.nn.Module, example: torch.Tensor, path: Path) -> Callable:
    torch.jit.script(network).save(str(path))
    return torch.jit.load(str(path))


def _onnx(network: torch.nn.Module, example: torch.Tensor, path: Path) -> Callable:
    import onnxruntime

    batch = torch.export.Dim("batch", min=1)
    torch.onnx.export(
        network, (example,), str(path), dynamo=True, opset_version=OPSET, external_data=False, verbose=False,
        input_names=["image"], output_names=["pred"], dynamic_shapes=({0: batch},),
    )  # fmt: skip
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda given: torch.from_numpy(np.asarray(session.run(["pred"], {"image": given.numpy()})[0]))
