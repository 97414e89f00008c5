"""gradio's page, but files come by upload only, and errors are told in our words, without the server's paths."""

import logging
from typing import Any

import gradio as gr
from gradio_client.utils import is_http_url_like

from latentsync.app.error_line import error_line
from latentsync.app.visible_text import without_paths

logger = logging.getLogger(__name__)

UNUSABLE = "these inputs cannot be used: see the description of the API for what each takes, and upload files first"


class GuardedBlocks(gr.Blocks):
    """gradio would download an address that is handed in as a file, and show visitors the text of any exception."""

    async def process_api(self, *arguments: Any, **settings: Any) -> dict[str, Any]:
        """As gradio's, through which all events of page and API pass."""
        try:
            return await super().process_api(*arguments, **settings)
        except gr.Error as error:
            error.message = without_paths(error.message)
            raise
        except Exception as error:
            raise _told(error_line(error)) from error

    async def preprocess_data(self, block_fn, inputs: list[Any], state, explicit_call: bool = False):
        """As gradio's; what fails here is the visitor's fault."""
        if names_address(inputs):
            raise _told("addresses are not fetched here: download the file and upload it")
        try:
            return await super().preprocess_data(block_fn, inputs, state, explicit_call)
        except gr.Error:
            raise
        except Exception as error:
            logger.info("inputs were refused: %s", error)
            raise _told(UNUSABLE) from error


def names_address(data: Any) -> bool:
    """Whether anything in an event's data is a file at an address."""
    if isinstance(data, dict):
        return is_http_url_like(str(data.get("path", ""))) or any(names_address(value) for value in data.values())
    return isinstance(data, (list, tuple)) and any(names_address(value) for value in data)


def _told(message: str) -> gr.Error:
    return gr.Error(message, visible=False, print_exception=False)
