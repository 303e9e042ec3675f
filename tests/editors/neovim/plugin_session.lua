-- The plugin as a package: its command, its windows, and what the user is told.

package.path = vim.fs.joinpath(vim.fs.dirname(arg[0]), '?.lua') .. ';' .. package.path
local checks = require('checks')
local check, equal, eventually, text, press = checks.check, checks.equal, checks.eventually, checks.text, checks.press
local model, gate_fused, all_fused = checks.model, checks.gate_fused, checks.all_fused

-- What a class is offered that needs more than what is exact.
local attention = {
  'import torch.nn as nn',
  '',
  '',
  'class Heads(nn.Module):',
  '    def __init__(self, dim):',
  '        super().__init__()',
  '        self.q_proj = nn.Linear(dim, dim)',
  '        self.k_proj = nn.Linear(dim, dim)',
  '',
  '    def forward(self, x):',
  '        q = self.q_proj(x)',
  '        k = self.k_proj(x)',
  '        return q @ k.transpose(-2, -1)',
}

local file = checks.write_model('model.py')
vim.o.packpath = checks.runtime
vim.lsp.config('fuselight', { cmd = checks.server })

local told = checks.record_messages()

local printed
---@diagnostic disable-next-line: duplicate-set-field
print = function(...)
  printed = table.concat({ ... }, ' ')
end

--- What the user has been told since the last time.
local function last_message()
  local message = eventually('a message', function()
    return table.remove(told)
  end)
  equal({}, told)
  return message.text
end

local function floats()
  return vim.tbl_filter(function(window)
    return vim.api.nvim_win_get_config(window).relative ~= ''
  end, vim.api.nvim_list_wins())
end

--- Goes to a place of the model's text.
local function go_to(needle)
  for row, line in ipairs(text()) do
    local column = line:find(needle, 1, true)
    if column then
      return vim.api.nvim_win_set_cursor(0, { row, column - 1 })
    end
  end
  error('not in the text: ' .. needle)
end

--- Opens the model as it was at first, alone on the screen, and waits for what is found in it.
local function start_anew(lines)
  vim.cmd('silent! only')
  vim.cmd.edit({ vim.fn.fnameescape(file), bang = true })
  vim.api.nvim_buf_set_lines(0, 0, -1, true, lines or model)
  vim.cmd('silent write')
  -- What comes next is an undo step of its own.
  vim.bo.undolevels = vim.bo.undolevels
  checks.attached()
end

--- Waits for what Neovim says when it applies an edit of the server's, which nobody repeats.
local function applied(summary)
  printed = nil
  eventually('the edit', function()
    return printed
  end)
  equal('Workspace edit fuselight: ' .. summary, printed)
  vim.wait(50)
  equal({}, told)
end

check('packadd enables the server and adds the command', function()
  equal(0, vim.fn.exists(':Fuselight'))
  vim.cmd.packadd('fuselight')
  equal(2, vim.fn.exists(':Fuselight'))
  vim.cmd.edit(file)
  checks.attached()
  checks.diagnostics(2)
end)

check('subcommands and their arguments are completed', function()
  local function completed(line)
    return vim.fn.getcompletion('Fuselight ' .. line, 'cmdline')
  end
  equal({ 'fix', 'graph', 'log', 'preview' }, completed(''))
  equal({ 'graph' }, completed('g'))
  equal({ 'workspace', '--allow' }, completed('fix '))
  equal({ '--allow' }, completed('fix workspace '))
  equal({ 'checkpoint' }, completed('fix --allow c'))
  equal({ 'checkpoint,numerics' }, completed('fix --allow checkpoint,n'))
  equal({ '--allow=checkpoint,breaking' }, completed('fix --allow=checkpoint,b'))
  equal({ 'mermaid', 'svg' }, completed('graph '))
  equal({ 'file' }, completed('preview '))
  equal({}, completed('log '))
  equal({}, completed('frobnicate '))
end)

check('a wrong word is answered with the usage', function()
  for line, usage in pairs({
    ['frobnicate'] = 'usage is :Fuselight fix|graph|log|preview',
    ['fix everything'] = 'usage is :Fuselight fix [workspace]',
    ['fix --allow'] = 'usage is :Fuselight fix [workspace]',
    ['fix --allow safe'] = 'usage is :Fuselight fix [workspace]',
    ['graph png'] = 'usage is :Fuselight graph [mermaid|svg]',
    ['preview all'] = 'usage is :Fuselight preview [file]',
    ['log all'] = 'usage is :Fuselight log',
  }) do
    vim.cmd('Fuselight ' .. line)
    assert(last_message():find(usage, 1, true), line)
  end
end)

check('fix applies what is exact in the text as it is now, in one undo step', function()
  start_anew()
  vim.api.nvim_buf_set_lines(0, 0, 0, true, { '# unsaved' })
  vim.bo.undolevels = vim.bo.undolevels
  vim.cmd('Fuselight fix')
  applied('2 fusions')
  equal(vim.list_extend({ '# unsaved' }, all_fused), text())
  assert(vim.bo.modified)
  vim.cmd('silent undo')
  equal(vim.list_extend({ '# unsaved' }, model), text())
end)

check('fix says so where nothing is to be fixed', function()
  start_anew({ 'x = 1' })
  vim.cmd('Fuselight fix')
  equal('fuselight: nothing to fix in this file', last_message())
end)

check('fix takes the other classes when they are allowed', function()
  start_anew(attention)
  vim.cmd('Fuselight fix')
  equal('fuselight: nothing to fix in this file', last_message())
  for _, line in ipairs({ 'fix --allow checkpoint,numerics', 'fix --allow=all' }) do
    vim.cmd('Fuselight ' .. line)
    applied('1 fusion')
    assert(vim.fn.search('qk_proj', 'nw') > 0, table.concat(text(), '\n'))
    vim.cmd('silent undo')
    equal(attention, text())
  end
end)

check('fix workspace fixes the closed files too, from any window, and writes none', function()
  start_anew()
  local other = checks.write_model('an other.py')
  vim.cmd.new()
  vim.cmd('Fuselight fix workspace')
  applied('4 fusions in 2 files')
  equal(all_fused, text(vim.fn.bufnr(file)))
  equal(all_fused, text(vim.fn.bufnr(other)))
  equal(model, vim.fn.readfile(other))
  vim.fn.delete(other)
  vim.cmd.bwipeout({ vim.fn.fnameescape(other), bang = true })
end)

local gate_diff = {
  '@@ -3,7 +3,7 @@',
  ' ',
  ' ',
  ' def gate(x):',
  '-' .. model[6],
  '+' .. gate_fused[6],
  ' ',
  ' ',
  ' def door(y):',
}

--- Has the action that starts so chosen from the menu.
local function choose(start)
  vim.ui.select = function(items, options, chosen)
    for _, item in ipairs(items) do
      if vim.startswith(options.format_item(item), start) then
        return chosen(item)
      end
    end
    error(start .. ' is not offered: ' .. vim.inspect(vim.tbl_map(options.format_item, items)))
  end
end

--- Opens the preview by the command; gives its window, which the cursor is in.
local function preview(command)
  vim.cmd('Fuselight ' .. (command or 'preview'))
  local window = eventually('the preview', function()
    return floats()[1]
  end)
  equal(window, vim.api.nvim_get_current_win())
  return window
end

check('preview shows a diff, which y or <CR> applies', function()
  choose('Replace `x')
  for _, key in ipairs({ 'y', '<CR>' }) do
    start_anew()
    vim.cmd.vsplit()
    local window = vim.api.nvim_get_current_win()
    go_to('torch.sigmoid(x)')
    preview()
    equal('diff', vim.bo.filetype)
    equal('--- ', text()[1]:sub(1, 4))
    assert(vim.endswith(text()[2], 'model.py'), text()[2])
    equal(gate_diff, vim.list_slice(text(), 3))
    equal(model, text(vim.fn.bufnr(file)))
    press(key)
    equal({}, floats())
    equal(window, vim.api.nvim_get_current_win())
    equal(gate_fused, text())
    vim.cmd('silent undo')
    equal(model, text())
  end
end)

check('preview leaves the text as it is by q, by <Esc>, and when another window is entered', function()
  choose('Replace `x')
  for _, keys in ipairs({ 'q', '<Esc>', '<C-W>w' }) do
    start_anew()
    go_to('torch.sigmoid(x)')
    preview()
    press(keys)
    eventually('the end of the preview', function()
      return #floats() == 0
    end)
    equal(model, text())
    assert(not vim.bo.modified)
  end
end)

check('preview applies nothing to a text that has changed since', function()
  choose('Replace `x')
  start_anew()
  go_to('torch.sigmoid(x)')
  preview()
  vim.api.nvim_buf_set_lines(vim.fn.bufnr(file), 0, 0, true, { '# changed' })
  press('y')
  equal('fuselight: the text has changed since: nothing was applied', last_message())
  equal(vim.list_extend({ '# changed' }, model), text())
end)

check('preview of a range, and of all that is exact in the file', function()
  choose('Replace `x')
  start_anew()
  vim.cmd('1,2Fuselight preview')
  equal('fuselight: nothing to preview here', last_message())
  preview('preview file')
  equal({ '-' .. model[6], '+' .. all_fused[6], '-' .. model[10], '+' .. all_fused[10] }, vim.tbl_filter(function(line)
    return line:find('^[-+]%s') ~= nil
  end, text()))
  press('q')
  vim.cmd('6Fuselight preview')
  eventually('the preview', function()
    return floats()[1]
  end)
  press('y')
  equal(gate_fused, text())
end)

check('preview stays within a small screen', function()
  choose('Replace `x')
  start_anew()
  local columns, lines = vim.o.columns, vim.o.lines
  vim.o.columns, vim.o.lines = 20, 8
  go_to('torch.sigmoid(x)')
  local config = vim.api.nvim_win_get_config(preview())
  assert(config.width <= 16 and config.height <= 3, vim.inspect(config))
  press('q')
  vim.o.columns, vim.o.lines = columns, lines
end)

check('graph shows the function under the cursor beside it, in one window', function()
  start_anew()
  local window = vim.api.nvim_get_current_win()
  go_to('return y')
  vim.cmd('Fuselight graph')
  eventually('the graph', function()
    return vim.bo.filetype == 'mermaid'
  end)
  assert(vim.fn.search('title: "door"', 'nw') > 0, table.concat(text(), '\n'))
  equal({ 'nofile', false }, { vim.bo.buftype, vim.bo.modifiable })
  equal(2, #vim.api.nvim_list_wins())
  vim.api.nvim_set_current_win(window)
  vim.cmd('Fuselight graph svg')
  eventually('the picture', function()
    return vim.bo.filetype == 'svg'
  end)
  assert(vim.startswith(text()[1], '<svg'), text()[1])
  equal(2, #vim.api.nvim_list_wins())
  press('q')
  equal({ window }, vim.api.nvim_list_wins())
end)

check('graph says so where there is nothing to draw', function()
  start_anew({ 'x = 1' })
  vim.cmd('Fuselight graph')
  assert(last_message():find('fuselight: %S'))
  equal(1, #vim.api.nvim_list_wins())
end)

check('log opens the log at its end', function()
  start_anew()
  vim.lsp.log.error('the last line')
  vim.cmd('Fuselight log')
  equal(vim.fs.normalize(vim.lsp.get_log_path()), vim.fs.normalize(vim.api.nvim_buf_get_name(0)))
  assert(vim.api.nvim_get_current_line():find('the last line', 1, true))
  assert(vim.bo.readonly)
end)

check('a buffer that has no name yet is left alone', function()
  start_anew()
  vim.cmd.new()
  vim.api.nvim_buf_set_lines(0, 0, -1, true, model)
  vim.bo.filetype = 'python'
  checks.attached()
  for _, line in ipairs({ 'fix', 'preview', 'graph' }) do
    vim.cmd('Fuselight ' .. line)
    equal('fuselight: this buffer has no name yet: write it first', last_message())
  end
  equal(model, text())
  vim.cmd('bwipeout!')
end)

check('a buffer without a server is told apart', function()
  start_anew()
  vim.cmd.new()
  for _, line in ipairs({ 'fix', 'preview', 'graph' }) do
    vim.cmd('Fuselight ' .. line)
    equal('fuselight: no server for this buffer; see :checkhealth fuselight', last_message())
  end
end)

check('a message that is too long is cut to one line of the screen', function()
  require('fuselight.message').warn(('long\n'):rep(100))
  local message = last_message()
  assert(not message:find('\n') and vim.fn.strdisplaywidth(message) <= vim.v.echospace, message)
  assert(vim.endswith(message, '…'))
end)

check('the autocommand of the manual applies what is exact on save, whichever window is the current one', function()
  local manual = vim.fs.joinpath(checks.runtime, 'pack/fuselight/opt/fuselight/README.md')
  local readme = table.concat(vim.fn.readfile(manual), '\n')
  local on_save = assert(readme:match('```lua\n(vim%.api%.nvim_create_autocmd%(.-)\n```'))
  start_anew()
  vim.api.nvim_buf_set_lines(0, 0, 0, true, { '# unsaved' })
  vim.cmd.new()
  assert(loadstring(on_save))()
  vim.cmd('silent wall')
  equal(vim.list_extend({ '# unsaved' }, all_fused), vim.fn.readfile(file))
  vim.api.nvim_clear_autocmds({ event = 'BufWritePre' })
end)

check('checkhealth tells of the version, the server that runs and its settings', function()
  start_anew()
  vim.cmd('silent checkhealth fuselight')
  local report = table.concat(text(), '\n')
  for _, said in ipairs({ 'OK Neovim 0.11', 'is enabled', 'OK fuselight 0.', 'OK Server ', checks.directory }) do
    assert(report:find(said, 1, true), report)
  end
  assert(not report:find('ERROR', 1, true) and not report:find('WARNING', 1, true), report)
end)

check('a server that ended is told of, and the next file starts another', function()
  start_anew()
  checks.attached().rpc.terminate()
  eventually('the end of the server', function()
    return #vim.lsp.get_clients({ bufnr = 0 }) == 0
  end)
  told = checks.record_messages()
  vim.cmd('Fuselight fix')
  equal('fuselight: no server for this buffer; see :checkhealth fuselight', last_message())
  vim.cmd.edit()
  checks.attached()
  vim.cmd('Fuselight fix')
  applied('2 fusions')
end)

checks.finish()
