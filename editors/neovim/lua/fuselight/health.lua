--- `:checkhealth fuselight`

local health = vim.health

local M = {}

local COMMANDS = { 'fuselight.fixFile', 'fuselight.fixWorkspace', 'fuselight.showGraph' }

--- The first line that a command says; nil, and why, where it does not run.
---@param command string[]
---@return string?, string?
local function first_line(command)
  local ran, done = pcall(function()
    return vim.system(command, { text = true, timeout = 10000 }):wait()
  end)
  if not ran then
    return nil, tostring(done)
  end
  if done.code ~= 0 then
    return nil, vim.trim(done.stderr or '')
  end
  return vim.split(vim.trim(done.stdout), '\n')[1]
end

---@return vim.lsp.Config?
local function configuration()
  local config = vim.lsp.config.fuselight
  if not config then
    health.error('There is no configuration `fuselight`', { 'lsp/fuselight.lua must be in the runtimepath' })
    return nil
  end
  if require('fuselight.server').is_enabled() then
    health.ok('The configuration `fuselight` is enabled')
  else
    health.warn('The configuration `fuselight` is not enabled', { "vim.lsp.enable('fuselight')" })
  end
  return config
end

---@param config vim.lsp.Config
local function executable(config)
  local command = config.cmd
  if type(command) ~= 'table' then
    return health.info('The server is started by a function of your configuration')
  end
  local name = command[1]
  if vim.fn.executable(name) == 0 then
    return health.error(('`%s` cannot be executed'):format(name), {
      'pip install fuselight',
      "vim.lsp.config('fuselight', { cmd = { '/path/to/fuselight', 'server' } })",
    })
  end
  -- `--version` goes where the subcommand `server` stands, which the interpreter may precede: `python -m fuselight`.
  local asking = vim.list_slice(command)
  for index, word in ipairs(command) do
    if word == 'server' then
      asking = vim.list_extend(vim.list_slice(command, 1, index - 1), { '--version' })
    end
  end
  local version, why = first_line(asking)
  if version then
    health.ok(('%s: `%s`'):format(version, vim.fn.exepath(name)))
  else
    health.error(('`%s` does not run: %s'):format(table.concat(asking, ' '), why))
  end
end

local function attached()
  local clients = vim.lsp.get_clients({ name = 'fuselight' })
  if #clients == 0 then
    return health.info('No server runs: one starts with the first Python file')
  end
  for _, client in ipairs(clients) do
    local version = client.server_info and client.server_info.version or 'of unknown version'
    local buffers = vim.tbl_count(client.attached_buffers)
    local place = client.root_dir or 'no workspace: files on their own'
    health.ok(('Server %d, %s, has %d buffers (%s)'):format(client.id, version, buffers, place))
    local known = vim.tbl_get(client.server_capabilities, 'executeCommandProvider', 'commands') or {}
    for _, command in ipairs(COMMANDS) do
      if not vim.list_contains(known, command) then
        health.warn(('It has no %s: it is older than this plugin'):format(command), { 'pip install -U fuselight' })
      end
    end
    health.info(('Its settings: %s'):format(vim.inspect(vim.tbl_get(client.settings, 'fuselight') or {})))
  end
end

function M.check()
  health.start('fuselight')
  if vim.fn.has('nvim-0.11') == 0 then
    return health.error('Neovim 0.11 or newer is needed')
  end
  health.ok(('Neovim %s'):format(tostring(vim.version())))
  local config = configuration()
  if config then
    executable(config)
    attached()
  end
  health.info('Which file gives which setting: `fuselight config --explain PATH`')
end

return M
