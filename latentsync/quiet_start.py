"""Let Ctrl-C end this repository's commands without a traceback while their modules load, which takes seconds.

No work has started by then, so there is nothing to clean up. `latentsync.cli` installs its own handlers later. Other
programs that import this package are not affected.
"""

import signal
import sys
import threading
from pathlib import PurePath

_PACKAGES = {"demo", "eval", "latentsync", "preprocess", "scripts"}
_SCRIPTS = {"gradio_app.py"}


def end_quietly_while_loading() -> None:
    """Restore the default action of SIGINT if this process runs one of our commands and has no other handler."""
    is_main_thread = threading.current_thread() is threading.main_thread()
    if is_main_thread and is_own_command() and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)


def is_own_command() -> bool:
    """Return True if this process runs one of this repository's commands."""
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
