-- A session in a headless Neovim, run by test_editors_neovim.py:
--   nvim --clean -u NONE -l neovim_session.lua RUNTIME DIRECTORY SERVER...
-- RUNTIME is editors/neovim, DIRECTORY is where the project is made, SERVER the command of the server.

local runtime, directory = arg[1], arg[2]
local failures = 0

local function check(name, body)
  local ok, why = xpcall(body, debug.traceback)
  failures = failures + (ok and 0 or 1)
  -- Neovim's own messages leave the cursor in the middle of a line.
  io.stdout:write('\n' .. (ok and 'ok ' or 'not ok ') .. name .. (ok and '' or '\n' .. tostring(why)) .. '\n')
end

local function equal(expected, found)
  assert(vim.deep_equal(expected, found), vim.inspect(expected) .. '\nexpected, but found\n' .. vim.inspect(found))
end

-- Waits for a condition while the event loop runs; gives what it was waiting for.
local function eventually(what, condition)
  local value
  local came = vim.wait(10000, function()
    value = condition()
    return value
  end, 10)
  assert(came, 'never came: ' .. what)
  return value
end

local function text()
  return vim.api.nvim_buf_get_lines(0, 0, -1, true)
end

-- A wide character in front of the finding shows whether both count columns alike.
local model = {
  'import torch',
  'import torch.nn.functional as F',
  '',
  '',
  'def gate(x):',
  '    return len("é漢😀") + x * torch.sigmoid(x)',
  '',
  '',
  'def door(y):',
  '    return y * torch.sigmoid(y)',
}
local gate_fused = vim.deepcopy(model)
gate_fused[6] = '    return len("é漢😀") + F.silu(x)'
local all_fused = vim.deepcopy(gate_fused)
all_fused[10] = '    return F.silu(y)'

local file = vim.fs.joinpath(directory, 'model.py')
vim.fn.writefile({}, vim.fs.joinpath(directory, 'pyproject.toml'))
vim.fn.writefile(model, file)

vim.opt.runtimepath:prepend(runtime)
vim.lsp.config('fuselight', { cmd = vim.list_slice(arg, 3) })
vim.lsp.enable('fuselight')
vim.cmd.edit(file)

local function two_diagnostics()
  local found = vim.diagnostic.get(0)
  return #found == 2 and found
end

check('the server attaches at the root of the project', function()
  local client = eventually('the client', function()
    return vim.lsp.get_clients({ bufnr = 0, name = 'fuselight' })[1]
  end)
  equal(vim.fs.normalize(directory), vim.fs.normalize(client.root_dir))
end)

check('diagnostics are drawn over the right text', function()
  local found = eventually('two diagnostics', two_diagnostics)
  equal({ 'FUS401', 'FUS401' }, { found[1].code, found[2].code })
  equal(vim.diagnostic.severity.INFO, found[1].severity)
  local first = found[1]
  equal({ 'x * torch.sigmoid(x)' }, vim.api.nvim_buf_get_text(0, first.lnum, first.col, first.end_lnum, first.end_col, {}))
end)

check('the built-in mapping offers the action, which is resolved, applied and saved', function()
  local offered
  vim.ui.select = function(items, options, choose)
    offered = vim.tbl_map(options.format_item, items)
    choose(items[1], 1)
  end
  vim.api.nvim_win_set_cursor(0, { 6, (model[6]:find('torch', 1, true)) })
  vim.api.nvim_feedkeys('gra', 'mx', false)
  eventually('the edit', function()
    return text()[6] ~= model[6]
  end)
  assert(offered[2]:find('Apply all 2', 1, true) and offered[3]:find('Ignore FUS401', 1, true), vim.inspect(offered))
  equal(gate_fused, text())
  vim.cmd('silent write')
  equal(gate_fused, vim.fn.readfile(file))
  eventually('one diagnostic left', function()
    return #vim.diagnostic.get(0) == 1
  end)
end)

check('it is undone in one step', function()
  assert(not vim.deep_equal(model, text()), 'nothing to undo')
  vim.cmd('silent undo')
  equal(model, text())
  eventually('two diagnostics again', two_diagnostics)
end)

check('all at once, by its kind', function()
  vim.api.nvim_win_set_cursor(0, { 1, 0 })
  vim.lsp.buf.code_action({ context = { only = { 'source.fixAll.fuselight' } }, apply = true })
  eventually('the edits', function()
    return vim.deep_equal(all_fused, text())
  end)
  vim.cmd('silent write')
  equal(all_fused, vim.fn.readfile(file))
  eventually('no diagnostic left', function()
    return #vim.diagnostic.get(0) == 0
  end)
end)

check('hover shows the page of the fusion', function()
  vim.cmd('silent undo')
  eventually('two diagnostics again', two_diagnostics)
  vim.api.nvim_win_set_cursor(0, { 10, 12 })
  local client = vim.lsp.get_clients({ bufnr = 0 })[1]
  local params = vim.lsp.util.make_position_params(0, client.offset_encoding)
  local answer = assert(client:request_sync('textDocument/hover', params, 10000, 0))
  assert(answer.result.contents.value:find('FUS401', 1, true), vim.inspect(answer))
end)

check('the workspace, files that are not open included', function()
  local other = vim.fs.joinpath(directory, 'other.py')
  vim.fn.writefile(model, other)
  local client = vim.lsp.get_clients({ bufnr = 0 })[1]
  local summary
  client:exec_cmd({ title = 'Fix workspace', command = 'fuselight.fixWorkspace' }, nil, function(error, result)
    assert(not error, vim.inspect(error))
    summary = result
  end)
  eventually('the answer', function()
    return summary
  end)
  equal({ true, 4, 2 }, { summary.applied, summary.fusions, summary.files })
  equal(all_fused, text())
  equal(all_fused, vim.api.nvim_buf_get_lines(vim.fn.bufnr(other), 0, -1, true))
end)

check('the graph of the function under the cursor', function()
  vim.api.nvim_win_set_cursor(0, { 10, 12 })
  local client = vim.lsp.get_clients({ bufnr = 0 })[1]
  local place = vim.lsp.util.make_position_params(0, client.offset_encoding)
  local argument = { uri = place.textDocument.uri, position = place.position, format = 'mermaid' }
  local params = { command = 'fuselight.showGraph', arguments = { argument } }
  local answer = assert(client:request_sync('workspace/executeCommand', params, 10000, 0))
  assert(answer.result:find('title: "door"', 1, true), vim.inspect(answer))
end)

check('the server ends with the editor', function()
  for _, client in ipairs(vim.lsp.get_clients()) do
    client:stop()
  end
  eventually('no client left', function()
    return #vim.lsp.get_clients() == 0
  end)
end)

os.exit(failures == 0 and 0 or 1)
