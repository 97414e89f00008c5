"""Quality of the generated mouth over processor time, for presets and other sampling settings."""
