"""Audio features of the networks: Whisper layer features per video frame, and SyncNet's mel spectrogram."""
