"""Open the resources of a job: probed files, a temporary folder, decoded audio, and the places of its outputs."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from fractions import Fraction
from pathlib import Path

from latentsync.audio.silero_network import load_silero_network
from latentsync.audio.speech_activity import SpeechInterval, find_speech
from latentsync.face.xseg import XSegOccluder
from latentsync.media.audio_samples import AudioSamples
from latentsync.media.mixing import mix_audio
from latentsync.pipelines.lipsync_job import (
    FrameCallback,
    LipsyncJob,
    LipsyncOutputs,
    OpenVoice,
    Progress,
    check_job,
    check_length,
)
from latentsync.pipelines.occluders import AUTO
from latentsync.pipelines.options import LipsyncOptions
from latentsync.pipelines.voices import Voices
from latentsync.pipelines.windows import published_length
from latentsync.storage.atomic import StagedFiles
from latentsync.storage.temporary_files import temporary_folder

logger = logging.getLogger(__name__)


@contextmanager
def open_job(
    video_path: Path,
    voices: Voices,
    video_out_path: Path,
    options: LipsyncOptions,
    model_fps: int,
    temp_dir: Path | None = None,
    progress: Progress | None = None,
    frame_callback: FrameCallback | None = None,
) -> Iterator[LipsyncJob]:
    """Probe and check the files, open a temporary folder and decode the audio.

    When the block ends without an error, the outputs get their names; otherwise nothing remains. Arguments as in
    `LipsyncPipeline.__call__`; `model_fps` is the frame rate of the result unless it is that of the source.
    """
    outputs = LipsyncOutputs.of(video_out_path, options.compare, timeline=options.timeline)
    checked = check_job(video_path, voices, outputs, options, temp_dir)
    fps = Fraction(model_fps) if options.video_fps == "25" else checked.video.fps
    with (
        temporary_folder(temp_dir) as folder,
        # the video last: once it exists, all its files exist
        StagedFiles([*outputs.beside(), outputs.video]) as staged,
        ExitStack() as stack,
    ):
        decoded = {
            path: stack.enter_context(AudioSamples.decode(path, folder)) for path in dict.fromkeys(voices.speeches)
        }
        speech, longest = max(decoded.items(), key=lambda pair: pair[1].num_samples)
        num_frames = round(longest.duration_s * fps)
        if options.exact:
            num_frames = published_length(longest.num_samples, model_fps)
        check_length(speech, longest.duration_s, num_frames)
        activity = {} if options.silence == "off" else _find_speech(decoded)
        yield LipsyncJob(
            video=checked.video,
            voices=tuple(
                OpenVoice(voice.face, voice.speech, decoded[voice.speech], activity.get(voice.speech))
                for voice in voices.voices
            ),
            keep_people=voices.keep_people,
            sound=_sound(voices, folder),
            duration_s=longest.duration_s,
            num_samples=longest.num_samples,
            outputs=outputs,
            staged=staged,
            folder=folder,
            options=options,
            fps=fps,
            num_frames=num_frames,
            progress=progress or ignore_progress,
            frame_callback=frame_callback,
            masks=checked.masks,
            xseg=XSegOccluder() if options.occluder == AUTO else None,
        )


def _sound(voices: Voices, folder: Path) -> Path:
    """Return the audio file with the sound of the result; speech of several people is mixed."""
    if voices.sound is not None:
        return voices.sound
    speeches = list(dict.fromkeys(voices.speeches))
    return speeches[0] if len(speeches) == 1 else mix_audio(speeches, folder)


def _find_speech(decoded: Mapping[Path, AudioSamples]) -> dict[Path, list[SpeechInterval]]:
    network, speech = load_silero_network(), {}
    for path, samples in decoded.items():
        speech[path] = find_speech(samples, network)
        if not speech[path]:
            logger.warning("no speech was found in %s: it moves no mouth", path)
    return speech


def ignore_progress(stage: str, done: float, total: int) -> None:
    """Do nothing."""
