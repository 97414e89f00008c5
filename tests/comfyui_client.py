"""A program that uses the nodes as ComfyUI does, and prints what it got: run with the path of a folder and an address.

tests/integration/test_comfyui_with_service.py runs it in an environment without this package.
"""

import importlib.util
import json
import sys
from pathlib import Path

import comfy.model_management
import comfy.utils
import folder_paths
import latentsync_nodes as nodes
import numpy as np
import torch

CHECKS_UNTIL_INTERRUPT = 9
"""One after the upload."""


def main(folder: Path, server: str) -> None:
    folder_paths.base = str(folder)
    y, x = torch.meshgrid(torch.linspace(0.2, 0.8, 112), torch.linspace(0.2, 0.8, 128), indexing="ij")
    images = torch.stack([torch.stack((x, y, (x + y) / 2 + i / 99), dim=-1) for i in range(9)])
    audio = {"waveform": 0.4 * torch.sin(torch.arange(7680) / 9)[None, None], "sample_rate": 16000}
    given = dict(audio=audio, server=server, guidance_scale=1.0, seed=3, loop_mode="bounce")
    generated, sound, fps = nodes.LatentSyncImages().lipsync(images, 25.0, **given)
    changed = (generated[:9] - images).abs().amax(dim=(0, 3))
    nodes._encode_images(images, 25.0, folder / "talk.mp4")
    written = nodes.LatentSyncVideo().lipsync(str(folder / "talk.mp4"), "dub", **given)
    result = {
        "numpy": np.__version__,
        "has latentsync": importlib.util.find_spec("latentsync") is not None,
        "shape": list(generated.shape),
        "fps": fps,
        "num_samples": sound["waveform"].shape[-1],
        "changed in the corner": float(changed[-16:, -8:].max()),
        "changed in the mouth": float(changed[50:80, 40:80].max()),
        "last progress": comfy.utils.ProgressBar.last.values[-1],
        "path": written["result"][0],
        "cancelled": state_after_interrupt(images, given),
    }
    try:
        nodes.LatentSyncImages().lipsync(images, 25.0, **{**given, "guidance_scale": 99.0})
    except nodes.LatentSyncError as error:
        result["refused"] = str(error)
    print(json.dumps(result))


def state_after_interrupt(images: torch.Tensor, given: dict) -> str:
    """Return the state of a job that the user cancelled after the upload."""
    jobs = []
    submit = nodes.Service._submit

    def submit_and_note(*arguments: object) -> str:
        jobs.append(submit(*arguments))
        return jobs[-1]

    nodes.Service._submit = submit_and_note
    comfy.model_management.checks_until_interrupt = CHECKS_UNTIL_INTERRUPT
    try:
        nodes.LatentSyncImages().lipsync(images, 25.0, **given)
    except comfy.model_management.InterruptProcessingException:
        return nodes.Service(given["server"])._ask("GET", f"/v1/jobs/{jobs[0]}")["state"]
    return "not interrupted"


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
