"""What is right, and does or keeps what nobody asked for."""


class WastefulError(Exception):
    """Raised by a probe whose answer is right at a cost; ``tensor`` is what is wasted."""

    def __init__(self, tensor: str, detail: str) -> None:
        super().__init__(detail)
        self.tensor = tensor
