api: object
filters: dict[str, object]

def link(
    host: dict[str, object],
    conv: dict[str, object],
    conv_winograd: dict[str, object],
    pool: dict[str, object],
    im2col: dict[str, object],
    batchnorm: dict[str, object],
    flash: dict[str, object],
) -> None: ...
def addresses() -> dict[str, int]: ...
def messages() -> tuple[str, ...]: ...
