"""From raw videos to training clips: eight numbered, resumable steps, on one machine or a cluster."""
