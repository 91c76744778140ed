"""Starting and running a server."""

import errno
import socket
from collections.abc import Callable

from anyview.serve.options import ServeOptions


def run_server(options: ServeOptions, say: Callable[[str], None]) -> None:
    """Serve until the process is asked to end.

    Raises:
        ValueError: In one line, what keeps the server from starting: an option, a model, a device, the data folder,
            the port.
        ImportError: The extra is not installed.
    """
    options.check()
    try:
        import fastapi  # noqa: F401
        import prometheus_client  # noqa: F401
        import python_multipart  # noqa: F401
        import uvicorn
    except ImportError as error:
        raise ImportError(f'anyview serve needs {error.name}: pip install "anyview[serve]"') from error
    from anyview.devices import resolve_device
    from anyview.serve.app import create_app
    from anyview.serve.folders import Folders
    from anyview.serve.models import offered_models
    from anyview.serve.service import RETRY_AFTER_S, Service
    from anyview.serve.tokens import tokens_for

    listener = listen(options.host, options.port)
    try:
        Folders(options.data.absolute()).make()
        for device in options.devices:
            resolve_device(device)
        models = offered_models(options.models, offline=options.offline)
        tokens = tokens_for(options)
        service = Service.create(options, models, tokens)
    except BaseException:
        listener.close()
        raise
    address = f"http://{_in_address(options.host)}:{listener.getsockname()[1]}"
    say(f"serving {', '.join(models)} at {address}, data in {options.data}")
    if tokens is None:
        who = "everybody on this machine" if options.is_loopback else "everybody who can reach it, by --auth off,"
        say(f"no token is asked for: {who} may use it")
    elif options.token_file is None:
        say(f"a token is asked for; it is in {options.data / 'token'}")
    else:
        say(f"{len(tokens.names)} tokens may use it, from {options.token_file}")
    config = uvicorn.Config(
        create_app(service),
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=5,
        timeout_keep_alive=6 * RETRY_AFTER_S,  # who was told to come back comes back on the same connection
        h11_max_incomplete_event_size=32 * 1024,
        ws="none",
    )
    uvicorn.Server(config).run(sockets=[listener])


def listen(host: str, port: int) -> socket.socket:
    """Open the socket that the server listens on.

    Raises:
        ValueError: The port is in use, or the address is none of this machine.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise ValueError(f"cannot listen on {host}: {error.strerror}") from error
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(128)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise ValueError(f"port {port} of {host} is in use; give another one with --port, or 0 for any") from error
        raise ValueError(f"cannot listen on port {port} of {host}: {error.strerror}") from error
    return listener


def _in_address(host: str) -> str:
    return f"[{host}]" if ":" in host else host
