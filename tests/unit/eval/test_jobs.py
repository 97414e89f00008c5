from collections import Counter
from pathlib import Path

import pytest

from eval.jobs import Job, derangement, jobs_of_videos, read_jobs
from eval.pairs import CROSS_AUDIO, RECONSTRUCTION, Pair
from latentsync.errors import InputError


def controls_of(jobs: list[Job]) -> list[Pair]:
    return [pair for job in jobs for pair in job.controls()]


@pytest.mark.parametrize("count", [2, 3, 4, 7, 30, 500])
def test_a_derangement_moves_everybody_and_loses_nobody(count: int):
    for seed in range(5):
        order = derangement(count, seed)
        assert sorted(order) == list(range(count))
        assert all(place != value for place, value in enumerate(order))
        assert order == derangement(count, seed)


def test_all_derangements_are_equally_likely():
    counts = Counter(tuple(derangement(4, seed)) for seed in range(1800))
    assert len(counts) == 9  # of four things there are nine
    assert min(counts.values()) > 140
    assert max(counts.values()) < 260


def test_one_video_has_nobody_to_swap_with():
    with pytest.raises(InputError, match="list two at least"):
        derangement(1, 0)


def test_reconstruction_gives_back_the_own_sound_and_knows_the_truth(tmp_path: Path):
    videos = [tmp_path / "a" / "same.mp4", tmp_path / "b" / "same.mp4"]
    jobs = jobs_of_videos(videos, RECONSTRUCTION, seed=0)
    assert [job.audio for job in jobs] == videos == [job.reference for job in jobs]
    assert len({job.stem for job in jobs}) == 2
    controls = controls_of(jobs)
    assert [(pair.row, pair.result) for pair in controls] == [("ground_truth", videos[0]), ("ground_truth", videos[1])]


def test_cross_audio_swaps_by_the_seed_and_has_both_controls(tmp_path: Path):
    videos = [tmp_path / f"{letter}.mp4" for letter in "abcde"]
    jobs = jobs_of_videos(videos, CROSS_AUDIO, seed=3)
    assert all(job.audio != job.video and job.reference is None for job in jobs)
    assert {job.audio for job in jobs} == set(videos)
    assert [job.audio for job in jobs] == [videos[place] for place in derangement(5, 3)]
    controls = {(pair.row, pair.name): pair for pair in controls_of(jobs)}
    first = jobs[0]
    unchanged = controls["source", first.name]
    assert (unchanged.result, unchanged.audio) == (first.video, first.audio)
    real = controls["ground_truth", first.name]
    assert (real.result, real.source, real.audio) == (first.audio, first.audio, first.audio)


def test_a_list_may_say_everything_itself(tmp_path: Path):
    file = tmp_path / "list.csv"
    file.write_text(
        "name,video,audio,reference,protocol\n"
        "p,v.mp4,a.wav,t.mp4,cross_audio\np,v.mp4,v.wav,v.mp4,reconstruction\nq,w.mp4,a.wav,,\n"
    )
    jobs = read_jobs(file, RECONSTRUCTION, 0)
    assert [(job.stem, job.reference) for job in jobs] == [
        ("cross_audio-p", tmp_path / "t.mp4"),
        ("reconstruction-p", tmp_path / "v.mp4"),
        ("cross_audio-q", None),
    ]
    rows = [(pair.protocol, pair.row, pair.name) for pair in controls_of(jobs)]
    assert rows == [
        ("cross_audio", "ground_truth", "p"),
        ("cross_audio", "source", "p"),
        ("reconstruction", "ground_truth", "p"),
        ("cross_audio", "source", "q"),  # whose truth nobody knows
    ]


def test_a_list_without_sound_gets_it_by_the_protocol(tmp_path: Path):
    file = tmp_path / "list.csv"
    file.write_text("name,video\na,a.mp4\nb,b.mp4\n")
    assert [job.audio.name for job in read_jobs(file, CROSS_AUDIO, 0)] == ["b.mp4", "a.mp4"]
    assert [job.audio.name for job in read_jobs(file, RECONSTRUCTION, 0)] == ["a.mp4", "b.mp4"]
    file.write_text("name,video\na,a.mp4\na,b.mp4\n")
    with pytest.raises(InputError, match="lists a twice"):
        read_jobs(file, RECONSTRUCTION, 0)
    file.write_text("name,video,protocol\na,a.mp4,cross_audio\n")
    with pytest.raises(InputError, match="has no audio"):
        read_jobs(file, RECONSTRUCTION, 0)
