"""How large the demo weights are, and how long the bundled demo takes."""

import subprocess
import time

from eval.demo_weights.setup import Evaluation
from latentsync.errors import ToolError
from latentsync.weights import REPOSITORY_ROOT


def measure_size(evaluation: Evaluation) -> dict[str, float]:
    """All files of weights together, in megabytes of 1,000,000 bytes."""
    num_bytes = sum(path.stat().st_size for path in evaluation.weight_files())
    return {"megabytes": num_bytes / 1e6, "bytes": num_bytes}


def measure_inference(evaluation: Evaluation) -> dict[str, float]:
    """Seconds that `./inference.sh` takes on the bundled demo, start to end, with the weights it finds itself."""
    evaluation.out.mkdir(parents=True, exist_ok=True)
    command = [str(REPOSITORY_ROOT / "inference.sh"), "--video_out_path", str(evaluation.out / "inference.mp4")]
    start = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ToolError(f"inference.sh failed: {(done.stderr.strip().splitlines() or ['no message'])[-1]}")
    return {"seconds": time.monotonic() - start}
