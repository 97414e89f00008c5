class ProgressBar:
    """ComfyUI's progress bar, which here only records its values."""

    last: "ProgressBar | None" = None

    def __init__(self, total: int, node_id: object = None) -> None:
        self.total = total
        self.values: list[int] = []
        ProgressBar.last = self

    def update_absolute(self, value: int, total: int | None = None, preview: object = None) -> None:
        self.values.append(value)
