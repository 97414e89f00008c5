"""How well the judge of mouths, `mouth_reader.pt`, reads ground truth it has not seen."""

from demo.synthetic.clip_metrics import mouth_reading_metrics
from eval.demo_weights.setup import Evaluation
from latentsync.judges.mouth_reader import load_mouth_reader


def measure_mouth_reader(evaluation: Evaluation) -> dict[str, float]:
    """The figures of the weights to be judged."""
    reader = load_mouth_reader(evaluation.weights / "mouth_reader.pt")
    return mouth_reading_metrics(reader, evaluation.clips)
