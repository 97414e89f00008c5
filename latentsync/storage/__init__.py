"""Files on disk: atomic writing, output checks, owned folders, temporary files, caches, reader of weight files."""
