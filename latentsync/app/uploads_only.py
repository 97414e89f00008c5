"""gradio's page, but files come by upload only: the server fetches no address for a visitor."""

from typing import Any

import gradio as gr
from gradio_client.utils import is_http_url_like


class UploadsOnlyBlocks(gr.Blocks):
    """gradio would download an address that is handed in as a file, whatever its size, before anyone could look."""

    async def preprocess_data(self, block_fn, inputs: list[Any], state, explicit_call: bool = False):  # noqa: D102
        if names_address(inputs):
            message = "addresses are not fetched here: download the file and upload it"
            raise gr.Error(message, visible=False, print_exception=False)
        return await super().preprocess_data(block_fn, inputs, state, explicit_call)


def names_address(data: Any) -> bool:
    """Whether anything in an event's data is a file at an address."""
    if isinstance(data, dict):
        return is_http_url_like(str(data.get("path", ""))) or any(names_address(value) for value in data.values())
    return isinstance(data, (list, tuple)) and any(names_address(value) for value in data)
