"""Adapt the U-Net to one person: cut the footage, choose its audio, train, and check the result."""

import logging
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from functools import cached_property, partial
from pathlib import Path

import numpy as np

from latentsync.adaptation.audio_choice import LipAgreement, choose_mode, lip_agreement
from latentsync.adaptation.check_videos import check_videos
from latentsync.adaptation.decoder import decoded_quality, decoder_trainer
from latentsync.adaptation.footage import FPS, Footage, StageProgress, cut_footage
from latentsync.adaptation.mouth_check import CheckResult, MouthCheck, sampling_options
from latentsync.adaptation.mouth_matching import Mouths, to_range
from latentsync.adaptation.mouth_readers import ReadMouths, build_mouth_reader
from latentsync.adaptation.network import adaptation_step, base_dtype, training_config
from latentsync.adaptation.observer import Observer
from latentsync.adaptation.preview import Preview
from latentsync.adaptation.pseudo_audio import PseudoAudio
from latentsync.adaptation.report import AdaptationReport, TrainedPart, choose_guidance
from latentsync.adaptation.result import write_result
from latentsync.adaptation.settings import PLAN, REMEDY, AdaptationSettings, check_settings, read_note, write_note
from latentsync.adaptation.speech_bank import build_bank, speech_mouths
from latentsync.adaptation.stored_check import stored_check
from latentsync.audio.whisper_model import WhisperEncoder, load_whisper_encoder
from latentsync.data.batching import collate
from latentsync.data.clip_check import TrainingClip, check_clips
from latentsync.data.clip_features import ClipFeatures, clip_samples, codec_fingerprint, encoder_fingerprint
from latentsync.data.clip_list import list_clips
from latentsync.data.prepare_features import prepare_features
from latentsync.data.unet_dataset import AudioTokens, OwnAudio, UNetDataset
from latentsync.data.video_window import read_frames
from latentsync.device import resolve_dtype
from latentsync.errors import InputError
from latentsync.face.detector import build_detector
from latentsync.losses.build import build_losses
from latentsync.models.vae import LatentCodec, load_vae
from latentsync.recipes.adapted_weights import PROGRAM, RECORD, DamagedAdaptationError, read_adapted
from latentsync.storage.content_cache import ArrayCache
from latentsync.storage.owned_folder import claim_folder, locked
from latentsync.training.checkpointing import CheckpointFolder, Progress, step_of
from latentsync.training.trainer import Trainer, TrainReport
from latentsync.training.trainer_config import TrainerConfig
from latentsync.weights import AUXILIARY, find_vae, locate, locate_initial

logger = logging.getLogger(__name__)

_CLIP_LIST = "clips.json"
_CHECK_BEFORE = "check_before.safetensors"
_UNLIMITED_STEPS = 10**9


class Adaptation:
    """One adaptation; an interrupted one continues with the same settings.

    Args:
        settings: see `AdaptationSettings`.
        progress: receives finished and all frames of the stages "faces", "clips", "before" and "after", the start of
            "features", and finished and all seconds (or steps) of "decoder" and "training". An exception ends the
            adaptation.
        say: receives lines for the user.
        observer: follows the training; without one, a progress bar is shown in a terminal.
    """

    def __init__(
        self,
        settings: AdaptationSettings,
        progress: StageProgress,
        say: Callable[[str], None] = logger.info,
        observer: Observer | None = None,
    ):
        check_settings(settings)
        self._settings, self._progress, self._say, self._observer = settings, progress, say, observer
        self._run, self._out, self._device = settings.run, settings.out, settings.device
        self._must_end = threading.Event()

    def stop_early(self) -> None:
        """End the training with its next step and go on with the checks; any thread may call this."""
        self._must_end.set()

    def __call__(self, finish: bool = False) -> tuple[AdaptationReport | None, int]:
        """Adapt; return the report, and the exit status: 0, or 128 + signal number with no report after a signal.

        Args:
            finish: train no further than the last checkpoint of an interrupted adaptation.

        Raises:
            InputError: there is no checkpoint to finish with, or an input cannot be used.
        """
        is_finished = (self._out / RECORD).is_file()
        if finish and not is_finished and CheckpointFolder(self._training_folder).latest() is None:
            raise InputError(f"{self._out} has no trained steps yet: repeat the line without --finish")
        claim_folder(self._out, PROGRAM, REMEDY)
        with locked(self._out, f"wait until it ends, or {REMEDY}"):
            with suppress(DamagedAdaptationError):
                return AdaptationReport.from_record(read_adapted(self._out).record), 0
            return self._adapt(finish)

    def _adapt(self, finish: bool) -> tuple[AdaptationReport | None, int]:
        footage, mixed = self._cut(), self._mixed_clips()
        self._prepare_features([*footage.all_clips, *mixed])
        audio, own = self._choose_audio(footage)
        trainer = self._trainer(_mixed(footage.clips, mixed, self._run.adaptation.mixed_share), audio)
        check = self._mouth_check(footage)
        before = self._check_before(check)
        decoder, exit_code = self._train_decoder(footage)
        if exit_code:
            return None, exit_code
        if self._observer is not None:
            codec = self._load_vae(decoder)
            trainer.validator = Preview(self._run, footage.held_out, codec, self._encoder, self._observer)
        result = self._train(trainer, finish)
        if result.exit_code:
            return None, result.exit_code
        weights, margin = Path(trainer.config.run_dir) / trainer.step.export_name, self._run.adaptation.margin
        after = self._check_after(check, before, weights, decoder)
        trained = TrainedPart.of(result.progress, self._unet_minutes, self._settings.num_steps)
        report = AdaptationReport.of(before, after, own, margin, trained, footage.seconds)
        files = [weights] if decoder is None else [weights, decoder]
        write_result(self._settings, report, files, check.sheet_rows([before, after]))
        return report, 0

    @cached_property
    def _codec(self) -> LatentCodec:
        return self._load_vae(None)

    def _load_vae(self, decoder: Path | None) -> LatentCodec:
        return load_vae(find_vae(self._run.vae), self._device, base_dtype(self._run, self._device), decoder)

    @cached_property
    def _encoder(self) -> WhisperEncoder:
        return load_whisper_encoder(locate(self._run.audio.whisper), self._device)

    @cached_property
    def _reader(self) -> ReadMouths:
        return build_mouth_reader(self._run.adaptation.mouth_reader, self._device)

    @cached_property
    def _features(self) -> ClipFeatures:
        keys = encoder_fingerprint(self._encoder), codec_fingerprint(self._codec)
        return ClipFeatures(ArrayCache(self._out / "cache"), self._run.data.resolution, *keys)

    def _cut(self) -> Footage:
        """Return the clips of all videos; those of an interrupted call are used again."""
        paths: list[Path] = []
        for video in self._settings.videos:
            folder = self._out / "clips" / self._settings.clips_key(video)
            if (names := read_note(folder / _CLIP_LIST)) is None:
                folder.mkdir(parents=True, exist_ok=True)
                self._say(f"cutting the face out of {video}")
                detector = build_detector(self._settings.detector, self._device, AUXILIARY)
                sizes = (self._run.data.resolution, self._run.data.min_frames)
                cut = cut_footage(video, folder, detector, self._settings.face, *sizes, self._progress)
                names = {"clips": [path.name for path in cut]}
                write_note(folder / _CLIP_LIST, names)
            paths += [folder / name for name in names["clips"]]
        usable = self._usable(paths)
        if len(usable) < 2:
            raise InputError("the footage is too short for clips to train on and one to check with: give more of it")
        return Footage(usable[:-1], usable[-1])

    def _mixed_clips(self) -> list[TrainingClip]:
        folder = self._settings.mixed_clips
        return [] if folder is None else self._usable(list_clips(folder))

    def _usable(self, paths: Sequence[Path]) -> list[TrainingClip]:
        return check_clips(paths, self._run.data.min_frames, FPS, cache=self._features.cache.folder).usable

    def _prepare_features(self, clips: Sequence[TrainingClip]) -> None:
        self._say("computing features of the clips")
        self._progress("features", 0, len(clips))
        num_variants = self._run.data.frame_variants
        prepare_features(clips, self._features, self._encoder, self._codec, num_variants=num_variants)

    def _mouths(self, clip: TrainingClip) -> Mouths:
        frames = read_frames(clip.path, range(clip.num_frames), self._run.data.resolution)
        return self._reader(frames)

    def _choose_audio(self, footage: Footage) -> tuple[AudioTokens, tuple[str, LipAgreement]]:
        """Return the source of the audio, and its name with the agreement of lips and sound."""
        read = {clip.content_key: self._mouths(clip) for clip in footage.clips}
        heard = {clip.content_key: speech_mouths(clip_samples(clip), clip.num_frames) for clip in footage.clips}
        in_footage, in_speech = (np.concatenate(list(mouths.values())) for mouths in (read, heard))
        agreement = lip_agreement(in_footage, in_speech)
        mode = choose_mode(self._settings.audio, agreement, self._run.losses.sync.weight > 0)
        self._say(f"audio: {mode} (lips and sound: {agreement})")
        if mode != "pseudo" and not in_speech[:, 0].any():
            raise InputError("the footage has no speech in its sound: use --audio pseudo, or give another video")
        own = OwnAudio(self._features, FPS)
        if mode == "own":
            return own, (mode, agreement)
        recordings = [*self._settings.speech, *map(locate, self._run.adaptation.speech)]
        bank = build_bank(recordings, self._encoder, FPS)
        if mode == "both":
            return PseudoAudio(bank, heard, own, self._run.adaptation.own_share), (mode, agreement)
        fitted = {key: to_range(mouths, in_footage, bank.mouths) for key, mouths in read.items()}
        return PseudoAudio(bank, fitted, own), (mode, agreement)

    def _mouth_check(self, footage: Footage) -> MouthCheck:
        run, dtype = self._run, resolve_dtype("auto", self._device)
        return MouthCheck(run, sampling_options(run), check_videos(run, footage), self._reader, self._device, dtype)

    def _check_before(self, check: MouthCheck) -> CheckResult:
        """Check the base weights; a resumed adaptation uses the stored result."""
        base, scale = locate_initial(str(self._run.initial)), self._run.run.guidance_scale
        progress = partial(self._progress, "before")
        return stored_check(self._out / _CHECK_BEFORE, self._settings.key, lambda: check(base, scale, progress))

    def _check_after(self, check: MouthCheck, before: CheckResult, weights: Path, decoder: Path | None) -> CheckResult:
        """Check the adapted weights at the guidance scales of the search; return the chosen one."""
        scales = [self._run.run.guidance_scale, *self._run.adaptation.guidance_scales]
        progress = partial(self._progress, "after")
        return choose_guidance(
            before, scales, lambda scale: check(weights, scale, progress, decoder), self._run.adaptation.margin
        )

    def _trainer(self, clips: list[TrainingClip], audio: AudioTokens) -> Trainer:
        run, resolution = self._run, self._run.data.resolution
        losses = build_losses(
            run.losses, self._codec, self._device, base_dtype(self._run, self._device), resolution, run.data.num_frames,
            recompute=run.training.gradient_checkpointing,
        )  # fmt: skip
        step = adaptation_step(run, self._codec, losses, self._device)
        needs = (losses.needs_target_pixels, losses.needs_mel)
        dataset = UNetDataset(clips, self._features, run.data, run.training.seed, *needs, audio=audio)
        config = self._trainer_config()
        return Trainer(
            config,
            step,
            dataset,
            collate,
            resolved_config=asdict(run),
            callbacks=[] if self._observer is None else [self._observer.on_metrics],
            after_step=partial(self._after_step, "training", config),
            is_shown=self._observer is None,
        )

    @property
    def _training_folder(self) -> Path:
        return self._out / "training"

    def _trainer_config(self) -> TrainerConfig:
        """Return the configuration of the training, with the steps or the time that the user has chosen."""
        steps = self._settings.num_steps
        return replace(
            training_config(self._run, self._device),
            run_dir=str(self._training_folder),
            max_steps=steps or _UNLIMITED_STEPS,
            max_minutes=self._unet_minutes if steps is None else None,
            validate_every=0,
            validate_minutes=None if self._observer is None else self._observer.preview_minutes,
        )

    @property
    def _unet_minutes(self) -> float:
        return self._settings.minutes * (1 - self._run.adaptation.decoder.share)

    def _train_decoder(self, footage: Footage) -> tuple[Path | None, int]:
        """Train the decoder for its share of the time; return its weights, if it is trained, and the exit status."""
        share, steps = self._run.adaptation.decoder.share, self._settings.num_steps
        if not share:
            return None, 0
        length = replace(
            self._trainer_config(),
            run_dir=str(self._out / "training_decoder"),
            max_steps=_UNLIMITED_STEPS if steps is None else max(1, round(share * steps)),
            max_minutes=self._settings.minutes * share if steps is None else None,
        )
        after_step = partial(self._after_step, "decoder", length)
        is_shown = self._observer is None
        trainer = decoder_trainer(self._run, footage.clips, self._features, length, after_step, is_shown)
        amount = f"in {share:.0%} of the time" if steps is None else f"for {length.max_steps} steps"
        self._say(f"training the decoder of the VAE {amount}")
        result = trainer.fit()
        decoder = Path(length.run_dir) / trainer.step.export_name
        if not result.exit_code:
            codecs = self._codec, self._load_vae(decoder)
            (psnr, sharp), after = (decoded_quality(codec, footage.held_out, self._features) for codec in codecs)
            change = f"{psnr:.1f} dB -> {after[0]:.1f} dB, sharpness {sharp:.2f} -> {after[1]:.2f} of the footage's"
            self._say(f"the VAE on held-out frames: {change}")
        return decoder, result.exit_code

    def _train(self, trainer: Trainer, finish: bool) -> TrainReport:
        latest = CheckpointFolder(self._training_folder).latest()
        if finish and latest is not None:
            trainer.config = replace(trainer.config, max_steps=step_of(latest))
        else:
            steps = self._settings.num_steps
            length = f"{self._unet_minutes:g} minutes" if steps is None else f"{steps} steps"
            self._say(f"training the U-Net: {length}; after Ctrl-C, the same line with --finish uses the result")
        write_note(self._out / PLAN, {"settings": self._settings.key})
        return trainer.fit()

    def _after_step(self, stage: str, length: TrainerConfig, progress: Progress) -> bool:
        """Report the progress; return True if the training must end early."""
        minutes = length.max_minutes
        done = (progress.global_step, length.max_steps) if minutes is None else (progress.seconds, 60 * minutes)
        self._progress(stage, *map(round, done))
        return self._must_end.is_set()


def _mixed(own: list[TrainingClip], others: list[TrainingClip], share: float) -> list[TrainingClip]:
    """Return both lists, one of them repeated so that about `share` of the items are those of other people."""
    if not others:
        return own
    num_own = max(1, round(len(others) * (1 - share) / max(share, 1e-6) / len(own)))
    num_others = max(1, round(len(own) * share / (1 - share) / len(others)))
    return own * num_own + others * num_others
