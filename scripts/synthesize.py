"""Draw lesion masks, compare them with real ones, and turn label maps into synthetic DWI.

    python -m scripts.synthesize masks --model runs/lesion_wgan --count 100 --seed 1 --out masks
    python -m scripts.synthesize images --bundle pix2pix_itm --model runs/pix2pix_itm --data data --masks masks \\
        --seed 1 --out synthetic
    python -m scripts.synthesize compare --masks masks --library lesion_masks.npz --out comparison

Without --masks: lesion-free brains. The first two go on where they were stopped, and never touch what is finished.
"""

from __future__ import annotations

from common.command_line import run_command

COMMANDS = {
    "masks": "common.synthesis:draw_masks",
    "images": "common.synthesis:synthesize_images",
    "compare": "common.mask_comparison:compare_masks",
}

if __name__ == "__main__":
    run_command(COMMANDS)
