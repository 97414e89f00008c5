"""The app: a web page and an API for the lip-sync pipeline. Only `page` and `server` import gradio."""
