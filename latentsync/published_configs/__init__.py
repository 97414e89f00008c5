"""Reads configurations of the published repository (bytedance/LatentSync), whose keys differ from those of configs/."""
