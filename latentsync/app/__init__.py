"""The app: a page and an API over the lip-sync pipeline. Only `page`, `guarded_blocks` and `server` know gradio."""
