"""Serve a bundle as a page and a JSON interface: ``python -m ecgcls.serve --help``."""

from pathlib import Path

from ecgcls.command.start import run_command
from ecgcls.config import Text
from ecgcls.errors import ConfigError


def serve(
    *,
    bundle: Path | None,
    host: Text,
    port: int,
    hosts: list[str],
    max_upload_mb: float,
    max_waiting: int,
    n_threads: int | None,
) -> None:
    """Serve a bundle until Ctrl-C or SIGTERM."""
    if bundle is None:
        raise ConfigError(
            "bundle=PATH is missing: the folder of a bundle, which python -m ecgcls.export makes of a finished run"
        )
    try:
        from ecgcls.serving.app import make_app
        from ecgcls.serving.guard import is_loopback
        from ecgcls.serving.server import bind, run
    except ImportError as error:
        if (error.name or "").partition(".")[0] == "ecgcls":
            raise
        raise ConfigError(f"serving needs {error.name}: pip install 'ecgcls[serve]'") from error
    from ecgcls import load_bundle
    from ecgcls.serving.limits import Limits

    limits = Limits(max_upload_mb=max_upload_mb, max_waiting=max_waiting)
    predictor = load_bundle(bundle, n_threads=n_threads)
    listener = bind(str(host), port)
    is_local = is_loopback(str(host))
    app = make_app(predictor, facts=predictor.bundle.info.content, limits=limits, hosts=hosts, is_local=is_local)
    address = listener.getsockname()
    shown = f"[{address[0]}]" if ":" in address[0] else address[0]
    print(f"{bundle}: http://{shown}:{address[1]} (interface for programs: /docs; Ctrl-C stops it)", flush=True)
    if not is_local:
        print("anyone who reaches this machine can use it: there are no passwords and no encryption", flush=True)
    run(app, listener)
    print("stopped", flush=True)


if __name__ == "__main__":
    run_command(serve)
