"""Find a face in video frames, follow it, crop it and paste the generated crop back."""
