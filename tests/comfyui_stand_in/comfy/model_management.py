class InterruptProcessingException(BaseException):
    """The user cancelled, as in ComfyUI no subclass of Exception."""


checks_until_interrupt: int | None = None
"""Number of checks after which the user cancels; None: never."""


def throw_exception_if_processing_interrupted() -> None:
    global checks_until_interrupt
    if checks_until_interrupt is None:
        return
    checks_until_interrupt -= 1
    if checks_until_interrupt < 0:
        checks_until_interrupt = None
        raise InterruptProcessingException
