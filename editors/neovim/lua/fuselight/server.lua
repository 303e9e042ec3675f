--- The running servers, and requests to them.

local message = require('fuselight.message')

local M = {}

---@param filter? vim.lsp.get_clients.Filter
---@return vim.lsp.Client[]
local function clients(filter)
  return vim.lsp.get_clients(vim.tbl_extend('force', filter or {}, { name = 'fuselight' }))
end

--- Whether Neovim would start servers. Its first releases of 0.11 cannot tell.
---@return boolean
function M.is_enabled()
  return not vim.lsp.is_enabled or vim.lsp.is_enabled('fuselight')
end

function M.tell_if_missing()
  local command = vim.tbl_get(vim.lsp.config.fuselight or {}, 'cmd')
  if M.is_enabled() and type(command) == 'table' and vim.fn.executable(command[1]) == 0 then
    message.warn('no server is installed; see :checkhealth fuselight')
  end
end

--- The server of a buffer; nil, and a message, where there is none.
---@param bufnr integer
---@return vim.lsp.Client?
function M.attached(bufnr)
  local client = clients({ bufnr = bufnr })[1]
  if not client then
    message.warn('no server for this buffer; see :checkhealth fuselight')
  elseif vim.api.nvim_buf_get_name(bufnr) == '' then
    -- All such buffers have one address, and Neovim finds none of them by it.
    message.warn('this buffer has no name yet: write it first')
    return nil
  end
  return client
end

--- The server of a buffer, else the only one that runs; nil, and a message, where there is none.
---@param bufnr integer
---@return vim.lsp.Client?
function M.of_workspace(bufnr)
  local here, all = clients({ bufnr = bufnr }), clients()
  if #here > 0 or #all == 1 then
    return here[1] or all[1]
  end
  message.warn(#all == 0 and 'no server runs; see :checkhealth fuselight' or 'several workspaces: go to a file of one')
end

--- Sends a request; `done` gets its result, and errors are told to the user.
---@param client vim.lsp.Client
---@param bufnr integer
---@param method string
---@param params table
---@param done fun(result: any)
function M.request(client, bufnr, method, params, done)
  local sent = client:request(method, params, function(error, result)
    if error then
      message.warn(error.message)
    else
      done(result)
    end
  end, bufnr)
  if not sent then
    message.warn('the server is gone; see :checkhealth fuselight')
  end
end

--- Has the server execute one of its commands.
---@param client vim.lsp.Client
---@param bufnr integer
---@param command string
---@param argument table
---@param done fun(result: any)
function M.execute(client, bufnr, command, argument, done)
  local known = vim.tbl_get(client.server_capabilities, 'executeCommandProvider', 'commands') or {}
  if not vim.list_contains(known, command) then
    return message.warn('the server is too old for this; see :checkhealth fuselight')
  end
  M.request(client, bufnr, 'workspace/executeCommand', { command = command, arguments = { argument } }, done)
end

return M
