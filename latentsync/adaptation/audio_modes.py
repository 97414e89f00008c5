"""Names of the sources of audio; apart from their code, whose import takes seconds."""

AUDIO_MODES = ("auto", "both", "own", "pseudo")
