"""What a job did, in words: for the page and for the text file beside the result."""

from html import escape

from latentsync.app.sync_verdict import SyncVerdict
from latentsync.app.visible_text import without_paths
from latentsync.pipelines.options import LipsyncOptions


def options_line(options: LipsyncOptions) -> str:
    """The choices of a run, to make it again."""
    return (
        f"steps {options.num_inference_steps}, guidance {options.guidance_scale:g}, seed {options.seed}, "
        f"scheduler {options.scheduler}, face {options.face}, {options.video_fps} frames per second, "
        f"overlap {options.overlap_frames}{', exact' if options.exact else ''}"
    )


def verdict_lines(verdict: SyncVerdict) -> list[str]:
    """The sync in words."""
    if verdict.before is None or verdict.after is None:
        return [f"sync: not judged ({without_paths(verdict.reason)})"]
    return [
        f"sync with the new speech, by {verdict.judge}:",
        *(
            f"  {when}: confidence {score.confidence:.2f}, offset {offset_text(score.offset)}"
            for when, score in (("before", verdict.before), ("after", verdict.after))
        ),
    ]


def offset_text(offset: int) -> str:
    """Frames with a sign, but for 0."""
    return f"{offset:+d} frames" if offset else "0 frames"


def summary_markdown(verdict: SyncVerdict, lines: list[str]) -> str:
    """Sync before and after, and what the run did."""
    return "\n".join([*_verdict_markdown(verdict), "", *(f"* {_shown(line)}" for line in lines)])


def summary_text(verdict: SyncVerdict, lines: list[str]) -> str:
    """The same for a text file."""
    return "".join(f"{without_paths(line)}\n" for line in lines) + "\n".join(verdict_lines(verdict)) + "\n"


def _shown(text: str) -> str:
    return escape(without_paths(text))


def _verdict_markdown(verdict: SyncVerdict) -> list[str]:
    if verdict.before is None or verdict.after is None:
        return [f"Sync was not judged: {_shown(verdict.reason)}."]
    rows = [
        f"| {when} | {score.confidence:.2f} | {offset_text(score.offset)} |"
        for when, score in (("the video as it came", verdict.before), ("the result", verdict.after))
    ]
    return [
        f"**Sync with the new speech**, judged by {_shown(verdict.judge)}",
        "",
        "| | confidence | offset |",
        "|---|---|---|",
        *rows,
    ]
