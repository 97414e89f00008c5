"""Lets Ctrl-C end our own commands without a traceback while their modules still load, which takes seconds.

Nothing has been done by then, so nothing is left behind. Later `latentsync.cli` takes signals over. A program
of somebody else that imports this package is left alone.
"""

import signal
import sys
import threading
from pathlib import PurePath

_PACKAGES = {"demo", "eval", "latentsync", "preprocess", "scripts"}
_SCRIPTS = {"gradio_app.py"}


def end_quietly_while_loading() -> None:
    """Gives Ctrl-C its plain meaning, if one of our commands is what runs and nobody else has taken it over."""
    is_main_thread = threading.current_thread() is threading.main_thread()
    if is_main_thread and _is_own_command() and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)


def _is_own_command() -> bool:
    arguments = iter(sys.orig_argv[1:])
    for argument in arguments:
        if argument == "-m":
            return next(arguments, "").partition(".")[0] in _PACKAGES
        if argument in ("-W", "-X"):
            next(arguments, None)
        elif not argument.startswith("-"):
            return PurePath(argument).name in _SCRIPTS
    return False


end_quietly_while_loading()
