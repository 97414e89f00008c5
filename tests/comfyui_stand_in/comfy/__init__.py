"""Stand-in for the parts of ComfyUI that `integrations/comfyui/` uses, with their signatures."""
