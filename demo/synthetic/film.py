"""A talking clip as a video file with sound: full frames to look at, or aligned crops to train on."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from demo.synthetic.clip import TalkingClip
from demo.synthetic.motion import FPS
from demo.synthetic.speech import write_wav
from latentsync.media.ffmpeg_tools import raw_video_input
from latentsync.media.transcode import BT709_TAGS, encode_frames, rgb_to_bt709
from latentsync.storage.temporary_files import temporary_folder

_CROP_CRF = 6
_CROP_KEY_FRAMES = 25


def write_film(clip: TalkingClip, path: Path, crf: int = 18) -> None:
    """Write the clip's full frames and speech as H.264 and AAC; the file appears whole. Raises ToolError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    options = {"vcodec": "libx264", "crf": crf, "preset": "slow", "pix_fmt": "yuv420p"}
    sound_options = {"acodec": "aac", "audio_bitrate": "96k"}
    with temporary_folder(path.parent, "name another --out") as folder:
        sound = folder / "speech.wav"
        write_wav(sound, clip.samples)
        video = raw_video_input(clip.frame_size, clip.frame_size, FPS)
        encode_frames(clip.frames(), video, sound, path, movflags="+faststart", **options, **sound_options)


def write_training_film(crops: np.ndarray, sound: Path, path: Path) -> None:
    """Write crops (f, R, R, 3) uint8 and a sound file as a training clip; the file appears whole. Raises ToolError.

    H.264 4:4:4 near lossless: at 128 px 4:2:0 stays at 36 to 40 dB whatever its size, 4:4:4 gives 44 to 46 dB in 340 kB
    for 6 s. A key frame every second keeps reading a window cheap. The sound is lossless (ALAC), so that it is the
    speech to the sample.
    """
    options = {
        "vcodec": "libx264", "crf": _CROP_CRF, "g": _CROP_KEY_FRAMES, "threads": 1, "pix_fmt": "yuv444p",
        **BT709_TAGS,
    }  # fmt: skip
    video = rgb_to_bt709(raw_video_input(crops.shape[1], crops.shape[1], FPS))
    encode_frames(crops, video, sound, path, movflags="+faststart", acodec="alac", **options)
