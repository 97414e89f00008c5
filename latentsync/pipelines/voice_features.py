"""Audio features of one voice: with speech only (`LipsyncOptions.silence`), and silent after its end."""

from collections.abc import Sequence

from latentsync.audio.padded_samples import PaddedSamples
from latentsync.audio.sample_source import SampleSource
from latentsync.audio.speech_activity import SpeechInterval
from latentsync.audio.speech_only import ClosedMouthRows, SpeechEdges, SpeechOnly, silence_row
from latentsync.audio.whisper_features import FeatureRows, WhisperFeatures
from latentsync.audio.whisper_model import WhisperEncoder
from latentsync.pipelines.options import LipsyncOptions


def speech_edges(
    samples: SampleSource, speech: Sequence[SpeechInterval] | None, options: LipsyncOptions, num_samples: int
) -> SpeechEdges | None:
    """Return the edges of the sound that moves the mouth, outside of which the reference image is held; or None.

    Args:
        samples: the voice.
        speech: where it speaks; None if that was not searched.
        options: `sync_mode`.
        num_samples: length of the voice with the silence that follows it.
    """
    if speech is not None:
        return SpeechEdges(speech, num_samples)
    if options.sync_mode == "silence" and num_samples > samples.num_samples:
        return SpeechEdges([SpeechInterval(0, samples.num_samples)], num_samples)
    return None


def voice_features(
    encoder: WhisperEncoder,
    samples: SampleSource,
    speech: Sequence[SpeechInterval] | None,
    options: LipsyncOptions,
    num_samples: int,
) -> FeatureRows:
    """Return the features of a voice; arguments as above.

    Raises:
        InputError: the audio is shorter than 20 ms.
    """
    driving = samples if speech is None else SpeechOnly(samples, speech)
    rows = WhisperFeatures(encoder, PaddedSamples(driving, num_samples), options.exact)
    edges = speech_edges(samples, speech if options.silence == "close" else None, options, num_samples)
    return rows if edges is None else ClosedMouthRows(rows, silence_row(encoder), edges)
