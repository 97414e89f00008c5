"""Read and write video and audio files with ffmpeg."""
