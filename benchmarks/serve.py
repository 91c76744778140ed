"""Many clients at one server: what is lost, what is refused, how long a status call takes, what memory and disk do.

    python benchmarks/serve.py --clients 50 --seconds 300

The server is `anyview serve` in a process of its own on loopback, with a token for every five clients and a small quota
of disk, so that removal is part of the load. Each client uploads two small pictures, asks how its job is until it has
ended, downloads a file, and begins anew; one that is refused with 429 waits as long as it is told to. The first token
has five times as many clients as the others: fair order gives it no more jobs. The last line on stdout is JSON.
"""

import argparse
import contextlib
import io
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from anyview.serve.tokens import new_token

MIB = 2**20
CLIENTS_PER_TOKEN = 5
BOUNDARY = "between-parts"


@dataclass
class Record:
    """What all clients saw."""

    statuses: Counter[int] = field(default_factory=Counter)
    status_call_s: list[float] = field(default_factory=list)
    ended: Counter[tuple[str, str]] = field(default_factory=Counter)
    """By token and state."""
    accepted: int = 0
    unended: int = 0
    errors: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)


def main() -> None:
    """Run the load, and print a table and JSON."""
    options = parse_options()
    with tempfile.TemporaryDirectory() as folder:
        report = run(options, Path(folder))
    for name, value in report.items():
        print(f"{name}: {value}", file=sys.stderr)
    print(json.dumps(report))


def parse_options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=300.0)
    parser.add_argument("--poll", type=float, default=0.5, help="seconds between two status calls of a client")
    parser.add_argument("--queue", type=int, default=30, help="jobs that wait, at most")
    parser.add_argument("--disk-mib", type=float, default=100.0)
    parser.add_argument("--model", default="da3-nano")
    return parser.parse_args()


def run(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Start the server, let the clients loose, and add up."""
    owners = [f"token{index}" for index in range(max(options.clients // CLIENTS_PER_TOKEN // 2, 1) + 1)]
    tokens = {owner: new_token() for owner in owners}
    (folder / "tokens").write_text("".join(f"{owner} {token}\n" for owner, token in tokens.items()))
    record = Record()
    with serving(options, folder) as (process, port):
        memory: list[float] = []
        disk: list[float] = []
        stop = threading.Event()
        watcher = threading.Thread(target=watch, args=(process, folder / "data", memory, disk, stop))
        watcher.start()
        end = time.monotonic() + options.seconds
        threads = []
        for index in range(options.clients):
            # Half of the clients have the first token, five each the others.
            greedy = index < options.clients // 2
            owner = owners[0] if greedy else owners[1 + (index - options.clients // 2) // CLIENTS_PER_TOKEN]
            threads.append(
                threading.Thread(target=client, args=(port, owner, tokens[owner], index, end, options, record))
            )
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        stop.set()
        watcher.join()
    return summary(options, record, memory, disk)


def summary(options: argparse.Namespace, record: Record, memory: list[float], disk: list[float]) -> dict[str, Any]:
    """Put what was seen into numbers."""
    done = Counter[str]()
    states = Counter[str]()
    for (owner, state), count in record.ended.items():
        states[state] += count
        done[owner] += count if state == "done" else 0
    calls = np.array(record.status_call_s or [0.0]) * 1e3
    tenth = max(len(memory) // 10, 1)
    return {
        "clients": options.clients,
        "seconds": options.seconds,
        "jobs_accepted": record.accepted,
        "jobs_ended": dict(states),
        "jobs_lost": record.unended,
        "jobs_done_by_token": dict(sorted(done.items())),
        "answers": {str(status): count for status, count in sorted(record.statuses.items())},
        "answers_5xx": sum(count for status, count in record.statuses.items() if status >= 500),
        "refused_429": record.statuses[429],
        "connections_lost": len(record.errors),
        "errors": sorted(set(record.errors)),
        "status_calls": len(record.status_call_s),
        "status_call_ms": {f"p{q}": round(float(np.percentile(calls, q)), 1) for q in (50, 95, 99)},
        "server_memory_mib": {
            "after_a_tenth": round(max(memory[:tenth], default=0)),
            "largest": round(max(memory, default=0)),
            "at_the_end": round(memory[-1]) if memory else 0,
        },
        "disk_mib": {"largest": round(max(disk, default=0), 1), "at_the_end": round(disk[-1], 1) if disk else 0},
    }


@contextlib.contextmanager
def serving(options: argparse.Namespace, folder: Path) -> Iterator[tuple[int, int]]:
    """Run the server; yield its process and port once its worker is ready."""
    script = "import sys; from anyview.cli import main; sys.exit(main(sys.argv[1:]))"
    arguments = ["serve", "--port", "0", "--data", str(folder / "data"), "--models", options.model, "--auth", "on"]
    limits = ["--queue", str(options.queue), "--queue-per-token", str(options.queue), "--free-mib", "0"]
    limits += ["--token-file", str(folder / "tokens"), "--disk-mib", str(options.disk_mib), "--sweep-s", "5"]
    server = subprocess.Popen([sys.executable, "-c", script, *arguments, *limits], stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        port = int(server.stdout.readline().split(" at http://")[1].split(",")[0].rpartition(":")[2])
        while ask(HTTPConnection("127.0.0.1", port), "GET", "/readyz", {})[0] != 200:
            time.sleep(0.2)
        yield server.pid, port
    finally:
        server.terminate()
        server.communicate(timeout=60)


def client(
    port: int, owner: str, token: str, seed: int, end: float, options: argparse.Namespace, record: Record
) -> None:
    """Do one client's work until the time is over, and wait for the job it then has."""
    connection = HTTPConnection("127.0.0.1", port, timeout=120)
    headers = {"Authorization": f"Bearer {token}"}
    body = upload(seed)
    kind = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
    try:
        while time.monotonic() < end:
            status, answer, retry_after = ask(connection, "POST", "/v1/jobs", {**headers, **kind}, body)
            with record.lock:
                record.statuses[status] += 1
                record.accepted += status == 201
            if status == 429:
                time.sleep(min(float(retry_after), max(end - time.monotonic(), 0)))
            elif status == 201:
                follow(connection, json.loads(answer)["id"], owner, headers, options.poll, record)
    except (OSError, KeyError, ValueError) as error:
        with record.lock:
            record.errors.append(repr(error))
    finally:
        connection.close()


def follow(
    connection: HTTPConnection, id: str, owner: str, headers: dict[str, str], poll: float, record: Record
) -> None:
    """Ask how a job is until it has ended, then download a file of it."""
    with record.lock:
        record.unended += 1
    while True:
        started = time.perf_counter()
        status, answer, _ = ask(connection, "GET", f"/v1/jobs/{id}", headers)
        with record.lock:
            record.status_call_s.append(time.perf_counter() - started)
            record.statuses[status] += 1
        if status != 200:
            return
        job = json.loads(answer)
        if job["state"] in ("done", "failed", "cancelled"):
            break
        time.sleep(poll)
    status, _, _ = ask(connection, "GET", f"/v1/jobs/{id}/files/thumb.jpg", headers)
    with record.lock:
        record.statuses[status] += 1
        record.ended[owner, job["state"]] += 1
        record.unended -= 1


def ask(
    connection: HTTPConnection, method: str, path: str, headers: dict[str, str], body: bytes | None = None
) -> tuple[int, bytes, str]:
    """Return status, body and Retry-After of one call."""
    connection.request(method, path, body, headers)
    answer = connection.getresponse()
    return answer.status, answer.read(), answer.headers.get("Retry-After", "1")


def upload(seed: int) -> bytes:
    """Make the body of an upload of two pictures of noise."""
    parts = [
        b'--%b\r\nContent-Disposition: form-data; name="options"\r\n\r\n{"formats": ["npz"]}\r\n' % BOUNDARY.encode()
    ]
    for view in range(2):
        file = io.BytesIO()
        noise = np.random.default_rng([seed, view]).integers(0, 255, (84, 112, 3), dtype=np.uint8)
        Image.fromarray(noise).save(file, "PNG")
        head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="files"; filename="{view}.png"\r\n\r\n'
        parts += [head.encode(), file.getvalue(), b"\r\n"]
    return b"".join([*parts, f"--{BOUNDARY}--\r\n".encode()])


def watch(process: int, data: Path, memory: list[float], disk: list[float], stop: threading.Event) -> None:
    """Note the server's resident memory and its data's size, in MiB, now and then."""
    while not stop.wait(1.0):
        pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
        memory.append(pages * os.sysconf("SC_PAGE_SIZE") / MIB)
        disk.append(folder_bytes(data / "jobs") / MIB)


def folder_bytes(folder: Path) -> int:
    """Add up the sizes of the files below a folder; what vanishes meanwhile counts nothing."""
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(os.path.join(parent, name)).st_size
            except FileNotFoundError:
                continue
    return total


if __name__ == "__main__":
    main()
