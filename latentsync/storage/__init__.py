"""Files on disk: written whole, owned folders, content keys, caches, and the reader of weight files."""
