"""The lip-sync pipeline: a video and a speech file in, the same video with moving lips out.

Two passes over the video. The first finds and follows the face at every frame and keeps a few numbers a frame. The
second repaints it (`latentsync.pipelines.lipsync_job`). Whatever the length of the video, only a few windows of frames
are in memory.
"""

from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path

import torch

from latentsync.audio.whisper_model import WhisperEncoder
from latentsync.device_memory import naming_memory_errors
from latentsync.errors import CheckpointError, InputError
from latentsync.face.detector import FaceDetector
from latentsync.media.audio_samples import AudioSamples
from latentsync.models.unet import UNet3DConditionModel
from latentsync.models.vae import LatentCodec
from latentsync.pipelines.finite import WeightFiles
from latentsync.pipelines.job_check import check_job
from latentsync.pipelines.lipsync_job import FrameWatcher, LipsyncJob, LipsyncNetworks, Progress
from latentsync.pipelines.memory_remedy import memory_remedy
from latentsync.pipelines.options import LipsyncOptions
from latentsync.pipelines.output_files import OutputFiles, StagedFiles
from latentsync.pipelines.report import LipsyncReport
from latentsync.pipelines.synthesis import WindowSynthesizer
from latentsync.pipelines.timeline import published_length
from latentsync.storage.temporary_files import temporary_folder

NO_EXACT_DETECTOR = (
    "exact takes the published anchors from face-alignment's landmarks, whose weights are not here: "
    "python -m scripts.download_weights downloads them, or --detector mtcnn keeps all but the anchors exact"
)


class LipsyncPipeline:
    """Networks that together repaint the lips of one face in a video.

    Args:
        unet: sees ``3 L + 1`` channels, L being the codec's latent channels.
        codec: images to latents and back.
        audio_encoder: its width is the U-Net's ``cross_attention_dim``.
        detector: finds faces in frames.
        resolution: side of the aligned crop the networks work at, in pixels.
        num_frames: frames of one window.
        model_fps: frames per second the U-Net was trained at.
        exact_detector: finds faces for the option `exact`; None refuses that option.
        files: where the networks were read from, for messages.

    Raises:
        ConfigError: the parts do not fit each other.
    """

    def __init__(
        self,
        unet: UNet3DConditionModel,
        codec: LatentCodec,
        audio_encoder: WhisperEncoder,
        detector: FaceDetector,
        resolution: int,
        num_frames: int = 16,
        model_fps: int = 25,
        exact_detector: FaceDetector | None = None,
        files: WeightFiles | None = None,
    ) -> None:
        synthesizer = WindowSynthesizer(unet, codec, resolution, files)
        self.networks = LipsyncNetworks(synthesizer, audio_encoder, detector, resolution, num_frames, exact_detector)
        self.model_fps = model_fps

    @property
    def device(self) -> torch.device:
        """Where the networks are."""
        return self.networks.synthesizer.device

    def __call__(
        self,
        video_path: Path | str,
        audio_path: Path | str,
        video_out_path: Path | str,
        options: LipsyncOptions | None = None,
        temp_dir: Path | str | None = None,
        progress: Progress | None = None,
        watch: FrameWatcher | None = None,
    ) -> LipsyncReport:
        """Writes the video with lips that follow the audio, as long as the audio, and a contact sheet beside it.

        Args:
            video_path: a video with a face; its own sound is not used.
            audio_path: speech, or a video whose sound is speech.
            video_out_path: the result (.mp4, .mov or .mkv); appears when it is complete.
            options: see `LipsyncOptions`.
            temp_dir: where a folder for temporary files is made, and removed at the end.
            progress: told of the frames done.
            watch: shown every finished frame, see `lipsync_job.FrameWatcher`.

        Raises:
            InputError: an input cannot be used, no face is found, or the output cannot be written.
            DeviceMemoryError: the device has too little memory; the message says what to change.
            NonFiniteError: a network gave NaN or infinity.
            CheckpointError: `exact` is asked for and the pipeline has no detector for it.
        """
        video, audio, out = Path(video_path), Path(audio_path), Path(video_out_path)
        options = options or LipsyncOptions()
        if options.exact and self.networks.exact_detector is None:
            raise CheckpointError(NO_EXACT_DETECTOR)
        with ExitStack() as cleanup:
            outputs = OutputFiles.of(out, options.compare)
            place = None if temp_dir is None else Path(temp_dir)
            info = check_job(video, audio, outputs, options.video_fps, place).video
            folder = cleanup.enter_context(temporary_folder(place))
            # the video last: where it is, everything of it is
            staged = cleanup.enter_context(StagedFiles([*outputs.beside(), outputs.video]))
            samples = cleanup.enter_context(AudioSamples.decode(audio, folder))
            fps = Fraction(self.model_fps) if options.video_fps == "25" else info.fps
            num_frames = round(samples.duration_s * fps)
            if options.exact:
                num_frames = published_length(samples.num_samples, self.model_fps)
            if num_frames < 1:
                length = f"{samples.duration_s:.3f} s"
                raise InputError(f"{audio} lasts {length}, less than one video frame: give more speech")
            job = LipsyncJob(
                networks=self.networks,
                video=video,
                audio=audio,
                outputs=outputs,
                staged=staged,
                folder=folder,
                options=options,
                fps=fps,
                num_frames=num_frames,
                samples=samples,
                progress=progress or _no_progress,
                watch=watch,
            )
            synthesizer = self.networks.synthesizer
            remedy = memory_remedy(self.device, synthesizer.unet.dtype, self.networks.resolution, options)
            with naming_memory_errors("lip-sync", self.device, remedy):
                return job.run()


def _no_progress(stage: str, done: float, total: int) -> None:
    """Tells nobody."""
