"""What the U-Net is trained on: named, weighted terms over one prediction."""
