"""Measure adaptation to one person on synthetic people of unusual looks, against their rendered truth.

    python -m benchmarks.adaptation --out runs/adaptation [--people 10] [--minutes 10] [--audio pseudo own]
        [--mixed_clips data/train] [--seeds 0 1 2] [--steps 600]

Every person (`demo.synthetic.odd_person`) speaks for 10 s, from which the weights are adapted as `adapt.sh` does. Then
4 s of other footage of the same person are generated with foreign speech, before and after, and compared with the
person rendered with that speech. The opening is read twice: by the mouth reader, and by comparison with renderings
(`benchmarks.rendered_mouths`), which needs mouths in the person's own colours. It is also read while the same footage
says what the two voices of the checks of `adapt.sh` say. Results are stored in the folder; the same command continues.
`python -m benchmarks.adaptation_table` collects the results of several folders.
"""

import argparse
import logging
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from itertools import product
from pathlib import Path

import numpy as np
import torch

from benchmarks.adaptation_results import HASH_DIGITS, LOG, Trial, TrialResult, base_hash, read_results
from benchmarks.adaptation_table import add_training_options, table, training_of
from benchmarks.rendered_mouths import closest_openings, render_mouths
from demo.synthetic.clip import TalkingClip, write_video
from demo.synthetic.odd_person import odd_person
from demo.synthetic.speech import SAMPLE_RATE
from eval.stored_results import ResultLog, Values
from latentsync.adaptation.adapt import Adaptation
from latentsync.adaptation.check_videos import CheckVideo, Crops
from latentsync.adaptation.mouth_check import MouthCheck, sampling_options, shown_frames
from latentsync.adaptation.mouth_readers import ReadMouths, build_mouth_reader
from latentsync.adaptation.settings import AdaptationSettings
from latentsync.adaptation.speech_bank import read_speech, speech_mouths
from latentsync.cli import EXIT_SOME_FAILED, OneLineParser, one_line, run_command
from latentsync.config import load_config
from latentsync.device import resolve_device, resolve_dtype
from latentsync.errors import InputError
from latentsync.face.align import alignment_matrices, crop_faces
from latentsync.face.detector import build_detector
from latentsync.face.face_plan import plan_face
from latentsync.judges.crop_measures import correlation, flicker, leak, mouth_psnr_db, sharpness, to_crops
from latentsync.pipelines.contact_sheet import write_crop_sheet
from latentsync.recipes.adaptation_run import AdaptationRun
from latentsync.recipes.adapted_weights import read_adapted
from latentsync.storage.content_cache import ArrayCache, cache_key, content_key
from latentsync.storage.owned_folder import claim_folder
from latentsync.weights import REPOSITORY_ROOT, locate, locate_initial

SEED = 91
FOOTAGE_S, CHECK_S = 10, 4
FPS = 25
CONFIG = REPOSITORY_ROOT / "configs" / "demo" / "adapt.yaml"


@dataclass(frozen=True)
class Truth:
    """Crops (f, R, R, 3) of footage that was not trained on, and of the same frames rendered with foreign speech.

    Attributes:
        footage, rendered: crops.
        mouths: renderings of each frame with many mouths, see `rendered_mouths.render_mouths`.
        speech: (s,) foreign speech at 16 kHz.
        speech_opening: (f,) opening of the person who says the foreign speech.
        footage_opening: (f,) opening of the footage.
    """

    footage: np.ndarray
    rendered: np.ndarray
    mouths: np.ndarray
    speech: np.ndarray
    speech_opening: np.ndarray
    footage_opening: np.ndarray


def talking(index: int, speech: np.ndarray | None = None) -> TalkingClip:
    """Return a person of unusual look; `speech` replaces the own one, and everything else stays."""
    return TalkingClip(SEED, index, FOOTAGE_S + CHECK_S, speech, person=odd_person(SEED, index))


def footage_video(index: int, folder: Path) -> Path:
    """Return the video of a person's footage, rendered if missing."""
    path = folder / f"person_{index}.mp4"
    if not path.is_file():
        own = talking(index)
        short = TalkingClip(
            SEED, index, FOOTAGE_S, own.samples[: FOOTAGE_S * SAMPLE_RATE], person=odd_person(SEED, index)
        )
        write_video(short, path)
    return path


def person_truth(index: int, folder: Path, resolution: int) -> Truth:
    """Return what a person's result is compared with, aligned as in `adapt.sh`; crops and mouths are stored."""
    own, other = talking(index), talking(index + 1)
    foreign = talking(index, other.samples)
    first = FOOTAGE_S * FPS
    speech_opening, footage_opening = foreign.frame_track[first:, 0], own.frame_track[first:, 0]

    for clip in (own, foreign):
        clip.states = clip.states[first:]
    stored = ArrayCache(folder)

    @cache
    def aligned() -> tuple[list[np.ndarray], np.ndarray]:
        frames = list(own.frames())
        return frames, alignment_matrices(plan_face(frames, build_detector("mtcnn")).anchors, resolution)

    def crops() -> np.ndarray:
        frames, matrices = aligned()
        both = (crop_faces(video, matrices, resolution) for video in (frames, list(foreign.frames())))
        return np.stack([to_crops(crops) for crops in both])

    footage, rendered = stored.get(cache_key("adaptation truth", 2, index, resolution), crops)
    key = cache_key("mouths of the adaptation truth", 1, index, resolution)
    mouths = stored.get(key, lambda: render_mouths(foreign, aligned()[1], resolution))
    return Truth(footage, rendered, mouths, foreign.samples[FOOTAGE_S * SAMPLE_RATE :], speech_opening, footage_opening)


def measure(generated: np.ndarray, truth: Truth, reader: ReadMouths) -> Values:
    """Return the metrics of generated crops (f, R, R, 3) for one person's truth."""
    rendered, footage = truth.rendered[: len(generated)], truth.footage[: len(generated)]
    return {
        "mouth PSNR to truth, dB": mouth_psnr_db(generated, rendered),
        **read_opening(generated, truth, reader),
        "flicker": flicker(generated) / flicker(rendered),
        "sharpness": sharpness(generated) / sharpness(footage),
    }


def read_voices(
    generated: Mapping[str, Crops], voices: Mapping[str, np.ndarray], read: Callable[[Crops], np.ndarray], name: str
) -> Values:
    """Return the opening's correlation with what voices (s,) say, the mean over them.

    Args:
        generated: crops by voice.
        voices: samples at 16 kHz.
        read: returns the opening (f,) in crops.
        name: of the way of reading.
    """
    expected = {voice: speech_mouths(samples, CHECK_S * FPS)[:, 0] for voice, samples in voices.items()}
    values = [correlation(read(generated[voice]), opening) for voice, opening in expected.items()]
    return {f"opening of two voices, {name}": float(np.mean(values))}


def read_opening(crops: np.ndarray, truth: Truth, reader: ReadMouths) -> Values:
    """Return the opening's correlation with the speech and its leak, as read by the mouth reader."""
    return follow(reader(crops)[:, 0], truth, "reader")


def compare_opening(crops: np.ndarray, truth: Truth) -> Values:
    """Return the same by comparison with renderings, which needs crops with the person's own lips."""
    return follow(closest_openings(crops, truth.mouths), truth, "renderings")


def follow(opening: np.ndarray, truth: Truth, name: str) -> Values:
    """Return how an opening (f,) follows the foreign speech, and its leak."""
    speech, footage = truth.speech_opening[: len(opening)], truth.footage_opening[: len(opening)]
    return {f"opening, {name}": correlation(opening, speech), f"leak, {name}": leak(opening, speech, footage)}


def measure_truth(truth: Truth, reader: ReadMouths) -> Values:
    """Return what is measured in the rendered truth: the values of a perfect result."""
    return {
        **read_opening(truth.rendered, truth, reader),
        **compare_opening(truth.rendered, truth),
        "flicker": 1.0,
        "sharpness": sharpness(truth.rendered) / sharpness(truth.footage[: len(truth.rendered)]),
    }


def run_trial(trial: Trial, options: argparse.Namespace) -> Values:
    """Adapt to one person, measure before and after, and write a sheet: footage, truth, before, after."""
    out, device = options.out, resolve_device("auto")
    run = load_config(CONFIG, AdaptationRun, [*options.overrides, f"training.seed={trial.seed}"])
    settings = AdaptationSettings(
        run=run,
        videos=(footage_video(trial.person, out / "footage"),),
        out=trial.folder(out),
        device=device,
        minutes=options.minutes,
        num_steps=options.steps,
        audio=trial.audio,
        mixed_clips=options.mixed_clips if trial.is_mixed else None,
        detector="mtcnn",
    )
    _, status = Adaptation(settings, lambda *progress: None, lambda line: print(f"{trial}: {line}", flush=True))()
    if status:
        raise SystemExit(status)
    adapted = read_adapted(settings.out)
    reader = build_mouth_reader(run.adaptation.mouth_reader, device)
    truth = person_truth(trial.person, out / "truth", run.data.resolution)
    voices = {name: read_speech(locate(name), CHECK_S) for name in run.adaptation.check_speech}
    speeches = {"foreign speech": truth.speech, **voices}
    videos = [CheckVideo(name, truth.footage, speech, is_own=False) for name, speech in speeches.items()]
    check = MouthCheck(run, sampling_options(run), videos, reader, device, resolve_dtype("auto", device))
    guidance = float(adapted.record["report"]["guidance_scale"])
    generated = {
        "before": check.generate(locate_initial(str(run.initial)), run.run.guidance_scale),
        "after": check.generate(adapted.checkpoint, guidance, decoder=adapted.decoder),
    }
    chosen = shown_frames(CHECK_S * FPS)
    dubs = {name: crops["foreign speech"] for name, crops in generated.items()}
    rows = [row[chosen] for row in (truth.footage, truth.rendered, *dubs.values())]
    write_crop_sheet(rows, settings.out.with_suffix(".png"))
    measured = {
        name: measure(dubs[name], truth, reader)
        | read_voices(generated[name], voices, lambda crops: reader(crops)[:, 0], "reader")
        for name in generated
    }
    measured["after"] |= compare_opening(dubs["after"], truth)
    measured["after"] |= read_voices(
        generated["after"], voices, lambda crops: closest_openings(crops, truth.mouths), "renderings"
    )
    measured["truth"] = measure_truth(truth, reader)
    values: Values = {"guidance": guidance}
    return values | {f"{name} {metric}": value for name, row in measured.items() for metric, value in row.items()}


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return 0, 1 if a trial was left out, or 2 if an input is invalid."""
    parser = OneLineParser(prog="python -m benchmarks.adaptation", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--people", type=int, default=10)
    parser.add_argument("--first", type=int, default=0, help="number of the first person")
    parser.add_argument("--audio", nargs="+", choices=("both", "own", "pseudo"), default=["pseudo", "own"])
    parser.add_argument("--mixed_clips", type=Path, help="training clips of other people: adds trials with them")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--threads", type=int, help="CPU threads (default: all)")
    parser.add_argument("--known", type=Path, help="file of results, whose trials are not measured again")
    add_training_options(parser)
    options = parser.parse_intermixed_args(arguments)
    logging.basicConfig(level=logging.WARNING)
    return run_command(lambda: run_all(options), when_stopped="the same command continues")


def planned_trials(options: argparse.Namespace) -> list[Trial]:
    """Return the trials that the options describe, seed by seed."""
    people = range(options.first, options.first + options.people)
    mixed = (False,) if options.mixed_clips is None else (False, True)
    choices = product(options.seeds, people, options.audio, mixed)
    return [Trial(person, audio, is_mixed, seed) for seed, person, audio, is_mixed in choices]


def run_all(options: argparse.Namespace) -> int:
    """Run the missing trials and print the table; return 1 if one was left out."""
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    training = training_of(options)
    known = [] if options.known is None else read_results(options.known)
    run = load_config(CONFIG, AdaptationRun, options.overrides)
    base = content_key(locate_initial(str(run.initial)))[:HASH_DIGITS]
    results = [one for one in known if (one.training, one.base) == (training, base)]
    claim_folder(options.out, "adaptation measurement", "name another --out")
    stored, done = ResultLog(options.out / LOG), {one.trial for one in results}
    left_out = 0
    for trial in planned_trials(options):
        if trial in done:
            continue
        try:
            values = stored.get(training.key(trial), str(trial), partial(run_trial, trial, options))
        except InputError as error:  # the detector does not find every one of these faces
            left_out += 1
            print(f"{trial} is left out: {one_line(error)}")
        else:
            results.append(TrialResult(trial, training, base_hash(trial.folder(options.out)), values))
    if results:
        print(table(results))
    return EXIT_SOME_FAILED if left_out else 0


if __name__ == "__main__":
    sys.exit(main())
