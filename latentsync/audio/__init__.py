"""Speech turned into what the models read: Whisper layer features per video frame, and SyncNet's mel spectrogram."""
