"""What makes the start faster changes nothing else."""

import importlib.util
import json
import os
import subprocess
import sys
import time

import pytest

from protocol.sessions import SERVER

MAGIC = importlib.util.MAGIC_NUMBER
COMPARED = """
import enum, importlib.util, sys
import attrs, lsprotocol.types
from lsprotocol import converters
from fuselight.lsp.lazy_types import cut, import_in_pieces

def told(value):
    if isinstance(value, dict):
        return repr(dict(value))
    if not isinstance(value, type):
        return repr(value) if not callable(value) or hasattr(value, "__args__") else value.__qualname__
    about = [value.__module__, value.__qualname__, value.__doc__, sorted(map(str, vars(value)))]
    if issubclass(value, enum.Enum):
        about.append(repr(value.__members__))
    if attrs.has(value):
        about += [repr(one) for one in attrs.fields(value)] + [repr(value.__annotations__)]
    return about

plain = lsprotocol.types
converters.get_converter()
plain.ALL_TYPES_MAP.pop("__builtins__", None)
names = [name for name in dir(plain) if not name.startswith("__") or name == "__lsp_version__"]
expected = {name: told(getattr(plain, name)) for name in names}

slices = cut(plain, plain.__file__)
while True:
    try:
        next(slices)
    except StopIteration as last:
        pieces = last.value
        break
assert pieces is not None
del sys.modules["lsprotocol.types"], sys.modules["lsprotocol._hooks"], lsprotocol.types
import_in_pieces(importlib.util.find_spec("lsprotocol.types"), plain.__file__, pieces)
from lsprotocol import types
assert types is not plain
assert "Position" not in vars(types)
assert types.METHOD_TO_TYPES.get("no/method") is None
assert types.METHOD_TO_TYPES["exit"][0] is types.ExitNotification
assert "CodeLens" not in vars(types)
assert not hasattr(types, "NoSuchType")
assert set(names) <= set(dir(types))
for name in names:
    assert told(getattr(types, name)) == expected[name], name
"""


def test_a_class_made_when_it_is_named_is_what_the_plain_import_makes():
    done = subprocess.run([sys.executable, "-c", COMPARED], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture
def environment(tmp_path):
    return {**os.environ, "PYTHONPYCACHEPREFIX": str(tmp_path), "PYTHONDONTWRITEBYTECODE": ""}


def frame(message):
    body = json.dumps({"jsonrpc": "2.0", **message}).encode()
    return b"Content-Length: %d\r\n\r\n%s" % (len(body), body)


REQUESTS = b"".join(
    frame({"id": number, "method": method, "params": params})
    for number, (method, params) in enumerate(
        [
            ("initialize", {"capabilities": {"workspace": {"workspaceEdit": {"documentChanges": True}}}}),
            ("workspace/executeCommand", {"command": "no.such"}),
            ("textDocument/hover", {"textDocument": {"uri": "file:///m.py"}, "position": {"line": 0, "character": 0}}),
            ("textDocument/hover", {"textDocument": {}}),
        ]
    )
)
END = frame({"id": 99, "method": "shutdown"}) + frame({"method": "exit"})


def test_starts_whatever_the_kept_code_is(tmp_path, environment):
    def start():
        done = subprocess.run(SERVER, input=REQUESTS + END, capture_output=True, check=False, env=environment)
        assert done.returncode == 0
        return done.stdout

    answers = start()
    assert not list(tmp_path.rglob("protocol.*.code"))
    with subprocess.Popen(SERVER, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, env=environment) as server:
        server.stdin.write(REQUESTS + frame({"method": "initialized", "params": {}}))
        server.stdin.flush()
        until = time.monotonic() + 60
        while not (found := list(tmp_path.rglob("protocol.*.code"))) and time.monotonic() < until:
            time.sleep(0.1)
        server.stdin.write(END)
    (kept,) = found
    good = kept.read_bytes()
    assert start() == answers
    for content in (b"", b"no code", MAGIC, MAGIC + b"\xff", MAGIC + b"N", good[: len(good) // 2]):
        kept.write_bytes(content)
        assert start() == answers
