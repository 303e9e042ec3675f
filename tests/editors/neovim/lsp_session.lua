-- The language server alone, by the configuration that users are given: no plugin, Neovim does all.

package.path = vim.fs.joinpath(vim.fs.dirname(arg[0]), '?.lua') .. ';' .. package.path
local checks = require('checks')
local check, equal, eventually, text = checks.check, checks.equal, checks.eventually, checks.text
local model, gate_fused, all_fused = checks.model, checks.gate_fused, checks.all_fused
local directory = checks.directory

local file = checks.write_model('model.py')

vim.opt.runtimepath:prepend(checks.runtime)
vim.lsp.config('fuselight', { cmd = checks.server })
vim.lsp.enable('fuselight')
vim.cmd.edit(file)

check('the server attaches at the root of the project', function()
  local client = checks.attached()
  equal(vim.fs.normalize(directory), vim.fs.normalize(client.root_dir))
end)

check('diagnostics are drawn over the right text', function()
  local found = checks.diagnostics(2)
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
  checks.press('gra')
  eventually('the edit', function()
    return text()[6] ~= model[6]
  end)
  assert(offered[2]:find('Apply all 2', 1, true) and offered[3]:find('Ignore FUS401', 1, true), vim.inspect(offered))
  equal(gate_fused, text())
  vim.cmd('silent write')
  equal(gate_fused, vim.fn.readfile(file))
  checks.diagnostics(1)
end)

check('it is undone in one step', function()
  assert(not vim.deep_equal(model, text()), 'nothing to undo')
  vim.cmd('silent undo')
  equal(model, text())
  checks.diagnostics(2)
end)

check('all at once, by its kind', function()
  vim.api.nvim_win_set_cursor(0, { 1, 0 })
  vim.lsp.buf.code_action({ context = { only = { 'source.fixAll.fuselight' } }, apply = true })
  eventually('the edits', function()
    return vim.deep_equal(all_fused, text())
  end)
  vim.cmd('silent write')
  equal(all_fused, vim.fn.readfile(file))
  checks.diagnostics(0)
end)

check('hover shows the page of the fusion', function()
  vim.cmd('silent undo')
  checks.diagnostics(2)
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

checks.finish()
