"""From files to a result: what joins media, faces, audio and models."""
