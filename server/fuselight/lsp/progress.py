"""Work done progress: a bar in the client's window, which the user may stop."""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import Future
from typing import TYPE_CHECKING, cast
from uuid import uuid4

from lsprotocol import types

if TYPE_CHECKING:
    from fuselight.lsp.server import FuselightServer

logger = logging.getLogger(__name__)


class WorkDone:
    """One piece of work, shown by the token that the client sent along, or else by one of the server's own."""

    def __init__(self, server: FuselightServer, title: str, token: types.ProgressToken | None) -> None:
        self._server = server
        self._progress = server.work_done_progress
        # Each token's future is cancelled when the client sends `window/workDoneProgress/cancel`.
        self._tokens = cast("dict[types.ProgressToken, Future[None]]", self._progress.tokens)  # pyright: ignore[reportUnknownMemberType]
        self._title = title
        self._token = token
        self._creates = token is None and server.client.shows_progress
        self._percentage = -1
        self._shown = False

    def begin(self, then: Callable[[], None]) -> None:
        """Show it, and call `then` once it is shown, or known that it cannot be."""

        def created(answer: Future[None]) -> None:
            if answer.cancelled() or answer.exception() is not None:
                logger.warning("The client shows no progress: %s", answer)
                self._token = None
            self._begin()
            then()

        if self._creates:
            self._token = f"fuselight-{uuid4()}"
            params = types.WorkDoneProgressCreateParams(self._token)
            self._server.window_work_done_progress_create(params).add_done_callback(created)
        else:
            self._begin()
            then()

    @property
    def is_shown(self) -> bool:
        return self._token is not None

    @property
    def is_cancelled(self) -> bool:
        """Whether the user has stopped it."""
        future = self._tokens.get(self._token) if self._token is not None else None
        return future is not None and future.cancelled()

    def report(self, done: int, of: int) -> None:
        """Say how far it is; each percent once."""
        percentage = done * 100 // max(of, 1)
        if self._token is not None and self._shown and percentage > self._percentage:
            self._percentage = percentage
            report = types.WorkDoneProgressReport(
                cancellable=True, message=f"{done} of {of} files", percentage=percentage
            )
            self._progress.report(self._token, report)

    def end(self, message: str) -> None:
        if self._token is not None and self._shown:
            self._shown = False
            self._progress.end(self._token, types.WorkDoneProgressEnd(message=message))
            self._tokens.pop(self._token, None)

    def _begin(self) -> None:
        if self._token is not None:
            self._shown = True
            begin = types.WorkDoneProgressBegin(title=self._title, cancellable=True, percentage=0)
            self._progress.begin(self._token, begin)
