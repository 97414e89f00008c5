"""The app: a page and an API over the lip-sync pipeline. Only `page`, `uploads_only` and `server` know gradio."""
