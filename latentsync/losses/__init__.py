"""Loss terms of the U-Net's training: named, weighted, computed from one prediction."""
