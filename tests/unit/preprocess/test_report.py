import html.parser
import re
from pathlib import Path

import pytest

from preprocess.report.__main__ import main, write_report
from preprocess.report.collect import read_funnel
from preprocess.report.pages import ClipList, Paragraph, Table, to_markdown
from tests.unit.preprocess.report_run import FOLDERS, NASTY, broke, clip, write_run, write_step


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("pipeline") / "out ü"
    write_run(root)
    return root


@pytest.fixture(scope="module")
def pages(run: Path) -> dict[str, str]:
    return {page.name: page.read_text(encoding="utf-8") for page in write_report(run, run / "report")}


class Page(html.parser.HTMLParser):
    """Tags, attributes and visible text of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def test_funnel_counts_every_clip_once(run: Path) -> None:
    broken, sync, quality = read_funnel(run).steps
    assert (broken.incoming.num_clips, broken.num_kept, broken.num_rejected, broken.num_failed) == (4, 3, 1, 0)
    assert (sync.incoming.num_clips, sync.num_kept, sync.num_rejected, sync.num_failed) == (3, 1, 1, 1)
    assert quality.skipped
    assert not broken.skipped
    assert all(step.complete and not step.outdated for step in (broken, sync, quality))


def test_funnel_sums_hours_and_seconds(run: Path) -> None:
    broken, sync, _ = read_funnel(run).steps
    assert broken.incoming.video_seconds == pytest.approx(4 * 36.0)
    assert sync.kept.video_seconds == pytest.approx(900 / 25)  # frames count once there are any
    assert sync.work_seconds == pytest.approx(1.0 + 0.5 + 0.25)


def test_rejected_clips_are_in_the_distributions(run: Path) -> None:
    sync = read_funnel(run).steps[1]
    assert sync.distributions["offset"]["kept"].bins == {-2: 1}
    assert sync.distributions["offset"]["rejected"].bins == {9: 1}
    assert sync.distributions["confidence"]["kept"].mean == pytest.approx(6.5)


def test_stale_files_are_counted_and_kept(run: Path) -> None:
    old = run / "av_synced" / "ab" / "good-0.mp4"
    stale = read_funnel(run).stale
    assert (stale.num_files, stale.num_bytes) == (1, old.stat().st_size)


def test_a_step_in_progress_or_out_of_date_is_named(tmp_path: Path) -> None:
    chain = write_step(tmp_path, "broken", [], {}, finish=False)
    row = broke(clip("a", tmp_path / "a.mp4", {}), "error", "it broke")
    write_step(tmp_path, "sync", [row], {}, chain_before=f"not {chain}")
    funnel = read_funnel(tmp_path)
    assert [step.complete for step in funnel.steps] == [False, True]
    assert [step.outdated for step in funnel.steps] == [False, True]
    text = write_report(tmp_path, tmp_path / "report")[0].read_text(encoding="utf-8")
    assert "Not finished: 1 broken." in text
    assert "Out of date: 7 sync." in text


@pytest.mark.parametrize("page", ["report.md", "report.html"])
def test_pages_have_outcomes_and_reasons(pages: dict[str, str], page: str) -> None:
    text = pages[page].replace("\\", "")
    for text_part in (
        "a stream does not decode",
        "picture and sound disagree",
        "took longer than 60 s",
        "Skipped by --skip_steps: 8 quality",
        "8 quality (skipped)",
        "4 clips went in (0.04 hours), 1 clip came out of the last step (0.01 hours)",
        "1 file",
        "confidence 6.5",
    ):
        assert text_part in text


def test_html_is_self_contained_and_names_are_escaped(pages: dict[str, str]) -> None:
    page = Page(pages["report.html"])
    assert {tag for tag, _ in page.tags}.isdisjoint({"script", "a", "link", "iframe"})
    images = [attributes["src"] or "" for tag, attributes in page.tags if tag == "img"]
    assert len(images) >= 5  # funnel, offset, confidence, two sheets of rejected clips, two of kept ones
    assert all(source.startswith("data:image/png;base64,") for source in images)
    assert NASTY.replace("\n", " ").replace("\u202e", "\\u202e") in page.text


def test_names_do_not_become_markdown(pages: dict[str, str]) -> None:
    line = next(line for line in pages["report.md"].splitlines() if "alert" in line)
    assert "<script" not in line
    assert re.search(r"(?<!\\)[|*`_\[\]#]", line) is None
    assert "日本" in line
    assert "\u202e" not in pages["report.md"]


def test_markdown_links_its_images(run: Path, pages: dict[str, str]) -> None:
    links = re.findall(r"\]\(<([^>]+)>\)", pages["report.md"])
    assert links
    assert all((run / "report" / link).is_file() for link in links)


def test_a_second_report_is_equal(run: Path, pages: dict[str, str], tmp_path: Path) -> None:
    assert main([str(run), "--out", str(tmp_path / "elsewhere")]) == 0
    assert (tmp_path / "elsewhere" / "report.html").read_text(encoding="utf-8") == pages["report.html"]
    assert {path.name for path in run.iterdir()} == {"manifest", "report", *filter(None, FOLDERS.values())}


def test_a_folder_without_a_run_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path)]) == 2
    message = capsys.readouterr().err
    assert str(tmp_path) in message
    assert message.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("name", "written"), [("1. item", "1\\. item"), ("- item", "\\- item"), ("+", "\\+")])
def test_names_do_not_begin_lists(tmp_path: Path, name: str, written: str) -> None:
    text = to_markdown([ClipList([(name, "")]), Paragraph(name), Table(["0.5"], [["-2.0"]])], tmp_path)
    assert text == f"1. {written}\n\n{written}\n\n| 0.5 |\n| --- |\n| -2.0 |\n"
