"""The floor: a pygls server that keeps the text as pygls does, and answers everything at once with a constant."""

from lsprotocol import types
from pygls.lsp.server import LanguageServer

server = LanguageServer("floor", "1")


@server.feature(types.TEXT_DOCUMENT_DID_OPEN)
@server.feature(types.TEXT_DOCUMENT_DID_CHANGE)
def publish(params):
    document = params.text_document
    server.text_document_publish_diagnostics(types.PublishDiagnosticsParams(document.uri, [], document.version))


@server.feature(types.TEXT_DOCUMENT_CODE_ACTION, types.CodeActionOptions(resolve_provider=True))
def offer(params):
    return [types.CodeAction("Nothing", kind=types.CodeActionKind.QuickFix, data={"number": 1})]


@server.feature(types.CODE_ACTION_RESOLVE)
def resolve(action):
    action.edit = types.WorkspaceEdit(document_changes=[])
    return action


if __name__ == "__main__":
    server.start_io()
