"""Reports of an evaluation: HTML, Markdown, tables, plots and contact sheets."""
