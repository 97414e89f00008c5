"""The app: a web page and an API for the lip-sync pipeline. gradio is loaded by `page` and `server` alone."""
