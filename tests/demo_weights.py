"""Arguments that make a command use the demo weights on the CPU, whatever weights and devices are available."""

from latentsync.weights import CHECKPOINTS, DEMO_UNET, DEMO_UNET_CONFIG, REPOSITORY_ROOT

DEMO_WEIGHTS = (
    "--unet_config_path", str(REPOSITORY_ROOT / DEMO_UNET_CONFIG),
    "--inference_ckpt_path", str(CHECKPOINTS / DEMO_UNET),
)  # fmt: skip
DEMO_RUN = (*DEMO_WEIGHTS, "--detector", "mtcnn", "--device", "cpu")
