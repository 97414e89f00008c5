"""Speech of scenes for tests that run without espeak-ng."""

import numpy as np
from numpy.typing import NDArray

from demo.synthetic.speech import SAMPLE_RATE, Voice


def vowels(text: str, voice: Voice) -> NDArray[np.float32]:
    """Return samples (n,) that open and close a mouth five times in a second; the pitch is that of the voice."""
    time = np.arange(SAMPLE_RATE) / SAMPLE_RATE
    tone = np.sin(2.0 * np.pi * (500.0 + 300.0 * np.sin(15.0 * time)) * time + voice.pitch)
    return (0.5 * tone * np.abs(np.sin(5.0 * np.pi * time))).astype(np.float32)
