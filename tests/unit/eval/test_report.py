import re
from pathlib import Path

import pytest
from PIL import Image

from eval.report.content import metric_table, number, shown_interval
from eval.report.html import write_html
from eval.report.images import ReportImages, draw_images, sheet_names
from eval.report.markdown import write_markdown
from eval.results import Results
from eval.run import build_parser, report_folder, run
from latentsync.storage.owned_folder import LOCK, MARKER
from tests.unit.eval import fakes
from tests.unit.eval.fakes import Brightness, Colours, Weightless, grey_pairs, open_clips
from tests.unit.eval.made_results import made_results


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> tuple[Results, Path]:
    """A whole report of three videos of two rows; one is missing, one has a name that HTML and Markdown dislike."""
    folder = tmp_path_factory.mktemp("report")
    pairs = grey_pairs(folder / "videos", (60, 100, 180))
    pairs[1].result.unlink()
    odd = [fakes.Pair("<b>|x_", folder / "gone.mp4", *pair_files(pair), row="other") for pair in pairs[:1]]
    options = build_parser("", "test").parse_args(
        ["--pairs", "unused", "--out", str(folder / "out"), "--device", "cpu"]
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("eval.face_clips.FaceClips", lambda cache, *rest: open_clips(cache))
        with report_folder(options) as cache:
            results = run([*pairs, *odd], [Brightness(), Colours(), Weightless()], options, cache)
    return results, folder / "out"


def pair_files(pair: fakes.Pair) -> tuple[Path, Path, Path | None]:
    return pair.source, pair.audio, pair.reference


def test_the_report_has_every_part(report: tuple[Results, Path]):
    _, out = report
    assert sorted(path.name for path in out.iterdir() if path.name not in (MARKER, LOCK)) == [
        "cache",
        "pictures",
        "report.html",
        "report.md",
        "results.json",
    ]
    markdown, page = (out / "report.md").read_text(), (out / "report.html").read_text()
    for text in (markdown, page):
        assert "2 of them failed" in text
        assert "/nowhere/judge.pt missing" in text
        assert "there is no result" in text
        assert "Published ones are in candela." in text
        assert "too few samples" in text
        assert "fewer than 10 videos" in text
    assert re.search(r"\| model \| 2 \| [\d.]+ \\\[", markdown)
    assert r"other, \<b\>\|x\_: there is no result" in markdown
    assert "other, &lt;b&gt;|x_: there is no result" in page
    assert "| model | 3 | 1 |" in markdown


def test_the_page_needs_nothing_beside_it_and_names_are_only_text(report: tuple[Results, Path]):
    page = (report[1] / "report.html").read_text()
    links = re.findall(r'(?:src|href)="([^"]*)"|url\(([^)]*)\)', page)
    assert links
    assert all((one or other).startswith("data:image/") for one, other in links)
    assert "<b>" not in page
    assert "<script" not in page


def test_pictures_are_there_and_linked(report: tuple[Results, Path]):
    _, out = report
    linked = set(re.findall(r"\]\((pictures/[^)]+)\)", (out / "report.md").read_text()))
    assert linked == {f"pictures/{path.name}" for path in (out / "pictures").iterdir()}
    assert len(linked) == 3  # a plot, and the sheets of the two results of `model`
    for name in linked:
        Image.open(out / name).verify()
    with Image.open(out / "pictures" / "reconstruction-model-video0.jpg") as sheet:
        top, bottom = (sheet.getpixel((10, y)) for y in (20, sheet.height - 20))
    assert top[0] == pytest.approx(100, abs=6)  # the reference above
    assert bottom[0] == pytest.approx(60, abs=6)  # the result below


def test_no_two_sheets_share_a_file():
    identities = [
        ("p", "a-b", "c"),
        ("p", "a", "b-c"),
        ("p", "a", "ü"),
        ("p", "a", "ö"),
        ("p", "a", "X"),
        ("p", "a", "x"),
    ]
    names = sheet_names(identities)
    assert len({name.lower() for name in names}) == len(identities)
    assert names[0] == "pictures/p-a-b-c.jpg"


def test_tables_state_numbers_intervals_and_samples():
    results = made_results({"model": {"a": {"score": 1.0}, "b": {"score": 3.0, "error": -0.5}}, "source": {"a": {}}})
    table = metric_table(results, results.metrics[0], "cross_audio")
    assert table.header == ["row", "n", "score ↑", "error (dB) ↓", "offset (frames), best 0"]
    assert table.rows[0] == ["model", "2, 1, 0", "2 [1, 3]", "−0.5", "not measured"]
    assert table.rows[1] == ["source", "0", "not measured", "not measured", "not measured"]
    whole = metric_table(results, results.metrics[1], "cross_audio")
    assert whole.rows[0] == ["model", "2", "5 (!)", "50, 50"]
    assert whole.notes == ("model: too few", "source: too few")
    assert [number(value) for value in (None, 0.0, 12345.678, 1.5e-5, -2.0)] == [
        "−",
        "0",
        "1.235e+04",
        "1.50e−05",
        "−2",
    ]
    assert shown_interval(None) == "not measured"


def test_a_report_of_nothing_but_failures_is_still_written(tmp_path: Path):
    results = made_results({"model": {"a": {}}})
    with open_clips(tmp_path / "cache") as clips:
        pictures = draw_images(results, [], clips, tmp_path)
    assert pictures == ReportImages({}, {})
    write_markdown(results, pictures, tmp_path / "r.md")
    write_html(results, pictures, tmp_path, tmp_path / "r.html")
    assert "not measured" in (tmp_path / "r.md").read_text()
