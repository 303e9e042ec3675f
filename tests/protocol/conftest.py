"""Sessions with the real server process."""

import pytest
import pytest_lsp
from pytest_lsp import ClientServerConfig

from protocol.sessions import SERVER, STAND_IN, Editor, RecordingClient


@pytest_lsp.fixture(config=ClientServerConfig(server_command=SERVER, client_factory=RecordingClient))
async def client(lsp_client: RecordingClient):
    yield
    await lsp_client.shutdown_session()


@pytest.fixture
def editor(client: RecordingClient) -> Editor:
    """An editor with the real server."""
    return Editor(client)


@pytest_lsp.fixture(config=ClientServerConfig(server_command=STAND_IN, client_factory=RecordingClient))
async def stand_in_client(lsp_client: RecordingClient):
    yield
    await lsp_client.shutdown_session()


@pytest.fixture
def stand_in(stand_in_client: RecordingClient) -> Editor:
    """An editor whose server has an engine of the tests' own: see `stand_in_server.py`."""
    return Editor(stand_in_client)
