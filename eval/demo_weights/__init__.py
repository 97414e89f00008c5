"""What the demo weights are measured by on held-out clips: one file a group of figures."""
