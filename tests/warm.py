"""`audiokd` without its imports: a process that has made them forks one for every command.

Importing lightning takes as long as a small training run. A server imports all that commands need, once a test process, and
computes nothing; `command()` is a program that hands it its arguments, folder, environment and files, and lives and dies with
the child: what the child prints and returns it returns, and killing it kills the child. Tests of start-up itself run the
installed command.
"""

from __future__ import annotations

import array
import atexit
import contextlib
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from functools import lru_cache
from pathlib import Path

INSTALLED = Path(sys.executable).with_name("audiokd")
IMPORTS = (
    "lightning.pytorch.loggers, lightning.pytorch.strategies, torchaudio, soundfile, transformers, tensorboard.summary, "
    "torch.utils.tensorboard, sklearn.linear_model, audiokd.cli, audiokd.stages.fit, audiokd.stages.export, "
    "audiokd.stages.corpus, audiokd.stages.score, audiokd.stages.probe, audiokd.training.datamodule, "
    "audiokd.methods.atst.module, audiokd.methods.classifier.module, audiokd.methods.detector.module, "
    "audiokd.methods.lit.module, audiokd.methods.lm_spt.module, audiokd.methods.mert.module"
)
CLIENT = """#!{python} -SE
import array, json, os, signal, socket, sys, time
for _ in range(9000):  # until the server is up
    s = socket.socket(socket.AF_UNIX)
    try:
        s.connect({socket!r})
        break
    except OSError:
        time.sleep(0.02)
asked = json.dumps([sys.argv[1:], os.getcwd(), dict(os.environ)]).encode()
s.sendmsg([len(asked).to_bytes(8, "little")], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [0, 1, 2]))])
s.sendall(asked)
child = int.from_bytes(s.recv(8), "little")
for number in (signal.SIGTERM, signal.SIGINT):
    signal.signal(number, lambda n, _: os.kill(child, n))
code = int.from_bytes(s.recv(8), "little", signed=True)
if code < 0:
    signal.signal(-code, signal.SIG_DFL) if -code != signal.SIGKILL else None
    os.kill(os.getpid(), -code)
sys.exit(code)
"""


@lru_cache
def folder() -> Path:
    """A folder for PATH, whose `audiokd` waits for the server."""
    found = Path(tempfile.mkdtemp(prefix="warm-"))
    program = found / "audiokd"
    program.write_text(CLIENT.format(python=sys.executable, socket=str(found / "socket")))
    program.chmod(0o755)
    return found


@lru_cache
def start() -> None:
    """Start the server, which ends with this process."""
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    arguments = [sys.executable, __file__, str(folder() / "socket"), str(os.getpid())]
    atexit.register(subprocess.Popen(arguments, env=env, start_new_session=True).kill)


def command() -> str:
    """Path of a program that does what `audiokd` does; the server is started."""
    start()
    return str(folder() / "audiokd")


def _serve(path: str, parent: int) -> None:
    for name in IMPORTS.split(", "):
        __import__(name)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path + ".new")
    listener.listen(64)
    os.rename(path + ".new", path)
    listener.settimeout(5)
    while os.getppid() == parent:
        with contextlib.suppress(TimeoutError):
            client, _ = listener.accept()
            client.setblocking(True)
            _fork(client, listener)


def _fork(client: socket.socket, listener: socket.socket) -> None:
    head, files = b"", array.array("i")
    head, ancillary, _, _ = client.recvmsg(8, socket.CMSG_LEN(3 * files.itemsize))
    for _, _, data in ancillary:
        files.frombytes(data)
    size, asked = int.from_bytes(head, "little"), b""
    while len(asked) < size:
        asked += client.recv(size - len(asked))
    arguments, folder, env = json.loads(asked)
    pid = os.fork()
    if pid == 0:
        listener.close()
        client.close()
        os.setsid()
        for number, file in enumerate(files):
            os.dup2(file, number)
        os.closerange(3, 256)
        _run(arguments, folder, env)
    for file in files:
        os.close(file)
    threading.Thread(target=_follow, args=(client, pid), daemon=True).start()


def _follow(client: socket.socket, pid: int) -> None:
    """Tell the client how the child ends, and end the child where the client does first."""

    def watch() -> None:
        if not client.recv(1):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)

    client.sendall(pid.to_bytes(8, "little"))
    threading.Thread(target=watch, daemon=True).start()
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    with contextlib.suppress(OSError):
        client.sendall(code.to_bytes(8, "little", signed=True))
        client.shutdown(socket.SHUT_RDWR)


def _run(arguments: list[str], folder: str, env: dict[str, str]) -> None:
    code = 1
    try:
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(env)
        sys.argv = [str(INSTALLED), *arguments]
        runpy.run_path(str(INSTALLED), run_name="__main__")
        code = 0
    except SystemExit as e:
        if isinstance(e.code, str):
            print(e.code, file=sys.stderr)
        code = e.code if isinstance(e.code, int) else int(e.code is not None)
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    _serve(sys.argv[1], int(sys.argv[2]))
