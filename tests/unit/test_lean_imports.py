"""What the commands import of other packages: in a process of its own, because pytest has imported everything."""

import json
import subprocess
import sys
from pathlib import Path

from latentsync.lean_imports import _re_exported_names

_CODE = """
import importlib, inspect, json, sys
sys.orig_argv = ["python", "-m", "scripts.inference"]
import latentsync
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from facenet_pytorch import MTCNN
from whisper.model import AudioEncoder
from latentsync.models.unet import UNet3DConditionModel
from latentsync.models.unet_config import UNetConfig
from latentsync.device import building_on_meta
with building_on_meta():
    config = UNetConfig(block_out_channels=[8, 8], attention_head_dim=1, norm_num_groups=1, use_motion_module=True)
    unet = UNet3DConditionModel.from_unet_config(config)
heavy = ["numba", "scipy.stats", "torch._dynamo", "torchvision", "transformers"]
imported = [name for name in heavy if name in sys.modules]
import diffusers
from diffusers.models.unets import UNet2DModel
from whisper.timing import median_filter
import torch
print(json.dumps({
    "imported": imported,
    "parameters": sorted({parameter.device.type for parameter in unet.parameters()}),
    "one class": diffusers.AutoencoderKL is AutoencoderKL and diffusers.UNet2DModel is UNet2DModel,
    "called": median_filter(torch.arange(9.0)[None], 3).shape[1],
    "unknown": hasattr(diffusers.models.unets, "no_such_name"),
}))
"""


def test_commands_import_what_they_use_and_the_rest_on_demand(repository: Path):
    done = subprocess.run([sys.executable, "-c", _CODE], cwd=repository, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "imported": [],
        "parameters": ["meta"],
        "one class": True,
        "called": 9,
        "unknown": False,
    }


_COMMANDS = """
import argparse, importlib, sys
modules = %r
for name in modules:
    importlib.import_module(name)
from eval.eval_sync_conf import _parser
from eval.run import build_parser as build_eval_parser
from gradio_app import build_parser as build_app_parser
from latentsync.training.train_arguments import parse_training
from preprocess.pipeline import build_parser as build_pipeline_parser
from scripts.inference import build_parser
for parser in (build_parser(), build_pipeline_parser(), build_app_parser(), build_eval_parser("", ""), _parser()):
    parser.format_help()
parse_training("name", "description", ["--config", "a.yaml"])
heavy = ["cv2", "diffusers", "gradio", "numba", "omegaconf", "scenedetect", "scipy", "torch", "transformers", "whisper"]
print([name for name in heavy if name in sys.modules])
"""
_MODULES = (
    *("scripts.inference", "scripts.train_unet", "scripts.train_syncnet", "scripts.download_weights"),
    *("preprocess.pipeline", "gradio_app", "eval.run", "eval.compare", "eval.inference_videos", "eval.metric_table"),
    *("eval.eval_sync_conf", "eval.eval_syncnet_acc"),
)


def test_help_imports_no_heavy_package(repository: Path):
    code = _COMMANDS % (_MODULES,)
    done = subprocess.run([sys.executable, "-c", code], cwd=repository, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_names_of_submodules_are_read_from_conditional_imports_too():
    source = "from ..utils import a\nif a():\n    from .first import B, C\nfrom .second import *\nfrom . import third\n"
    assert _re_exported_names(source) == {"B": "first", "C": "first"}
