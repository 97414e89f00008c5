"""Reports of an evaluation: their content, as HTML and Markdown, and their images."""
