"""An event file that TensorBoard reads, written row by row in the calling thread."""

import logging
import os
import socket
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

logger = logging.getLogger(__name__)


class TensorBoardFile:
    """Scalars for `tensorboard --logdir`: a second copy of the metrics, so a run goes on where it cannot be written.

    torch's SummaryWriter writes in a thread of its own, which a failing disk ends with a traceback.

    Args:
        folder: gets a new file; made where it is missing.
        purge_step: rows of earlier files from this step on are hidden.
    """

    def __init__(self, folder: Path, purge_step: int) -> None:
        from tensorboard.compat.proto import event_pb2, summary_pb2  # here: slow, and only one process needs them

        # The classes are made at run time; type checkers do not see them.
        self._event: Any = vars(event_pb2)["Event"]
        self._summary: Any = vars(summary_pb2)["Summary"]
        log: Any = vars(event_pb2)["SessionLog"]
        place = f"{socket.gethostname()}.{os.getpid()}.{uuid.uuid4().hex[:8]}"
        self.path = folder / f"events.out.tfevents.{int(time.time()):010d}.{place}"
        self._is_whole = True
        self._write(step=purge_step, file_version="brain.Event:2")
        self._write(step=purge_step, session_log=log(status=log.START))

    def write(self, step: int, scalars: Mapping[str, float]) -> None:
        """Adds one row; what cannot be written is left out, and one warning says so."""
        values = [self._summary.Value(tag=name, simple_value=value) for name, value in scalars.items()]
        self._write(step=step, summary=self._summary(value=values))

    def _write(self, **content: Any) -> None:
        from tensorboard.summary.writer.record_writer import RecordWriter

        if not self._is_whole:  # what follows half a record is not read
            return
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("ab") as file:
                RecordWriter(file).write(self._event(wall_time=time.time(), **content).SerializeToString())
        except OSError as error:
            self._is_whole = False
            logger.warning("%s cannot be written (%s): TensorBoard lacks the rest", self.path, error.strerror or error)
