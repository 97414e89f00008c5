"""Video and sound files in and out, through ffmpeg."""
