-- The plugin where the server is missing, and where it is an old one.

package.path = vim.fs.joinpath(vim.fs.dirname(arg[0]), '?.lua') .. ';' .. package.path
local checks = require('checks')
local check, equal, text = checks.check, checks.equal, checks.text

local file = checks.write_model('model.py')
vim.o.packpath = checks.runtime
local told = checks.record_messages()

local function report()
  vim.cmd('silent checkhealth fuselight')
  local lines = table.concat(text(), '\n')
  vim.cmd('silent! bwipeout!')
  return lines
end

check('a missing server is told of once, and by the commands', function()
  vim.lsp.config('fuselight', { cmd = { vim.fs.joinpath(checks.directory, 'no such', 'fuselight'), 'server' } })
  vim.cmd.packadd('fuselight')
  vim.cmd.edit(file)
  vim.cmd.edit(vim.fs.joinpath(checks.directory, 'other.py'))
  equal({ { text = 'fuselight: no server is installed; see :checkhealth fuselight', level = vim.log.levels.WARN } }, told)
  for _, line in ipairs({ 'fix', 'fix workspace', 'preview', 'graph' }) do
    vim.cmd('Fuselight ' .. line)
    assert(table.remove(told).text:find('checkhealth fuselight', 1, true))
  end
end)

check('checkhealth says what to do about it', function()
  local said = report()
  assert(said:find('cannot be executed', 1, true) and said:find('pip install fuselight', 1, true), said)
  assert(said:find('No server runs', 1, true), said)
end)

check('checkhealth shows why a server does not run', function()
  vim.lsp.config('fuselight', { cmd = { vim.v.progpath, '--clean', '--no-such-option', 'server' } })
  local said = report()
  assert(said:find('ERROR', 1, true) and said:find('no%-such%-option'), said)
end)

--- A server, inside of Neovim, that answers as one did that had no commands.
local function old_server()
  local closing = false
  return {
    request = function(method, _, callback)
      local result = {
        initialize = { capabilities = { codeActionProvider = true }, serverInfo = { name = 'fuselight', version = '0.0' } },
      }
      callback(nil, result[method])
      return true, 1
    end,
    notify = function()
      return true
    end,
    is_closing = function()
      return closing
    end,
    terminate = function()
      closing = true
    end,
  }
end

check('an old server is told of', function()
  vim.lsp.config('fuselight', { cmd = old_server })
  vim.cmd.edit({ bang = true })
  vim.cmd.edit(file)
  vim.bo.filetype = 'python'
  checks.attached()
  for _, line in ipairs({ 'fix', 'fix workspace', 'graph' }) do
    vim.cmd('Fuselight ' .. line)
    assert(table.remove(told).text:find('the server is too old', 1, true))
  end
  vim.cmd('Fuselight preview')
  equal('fuselight: nothing to preview here', table.remove(told).text)
  local said = report()
  assert(said:find('Server %d+, 0%.0'), said)
  assert(said:find('it is older than this plugin', 1, true), said)
end)

checks.finish()
