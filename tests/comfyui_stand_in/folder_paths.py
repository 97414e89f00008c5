import os

base = ""
"""Folder of the installation, set by the test."""


def get_input_directory() -> str:
    return os.path.join(base, "input")


def get_output_directory() -> str:
    return os.path.join(base, "output")


def get_temp_directory() -> str:
    return os.path.join(base, "temp")


def get_save_image_path(
    filename_prefix: str, output_dir: str, image_width: int = 0, image_height: int = 0
) -> tuple[str, str, int, str, str]:
    subfolder, filename = os.path.split(filename_prefix)
    folder = os.path.join(output_dir, subfolder)
    os.makedirs(folder, exist_ok=True)
    taken = [name for name in os.listdir(folder) if name.startswith(f"{filename}_")]
    return folder, filename, len(taken) + 1, subfolder, filename_prefix
