--- What `:Fuselight` does, as functions for mappings and scripts. All of them return at once; what comes of them is
--- told by |vim.notify()|.

local M = {}

---@class fuselight.FixOptions
---@field allow? string[] safety classes beside `exact`, as of `fuselight fix --allow`; or { 'all' }

---@param client vim.lsp.Client
---@param bufnr integer
---@param command string
---@param argument table
---@param nothing string what to say where there is nothing to fix
local function fix(client, bufnr, command, argument, nothing)
  require('fuselight.server').execute(client, bufnr, command, argument, function(summary)
    -- Neovim itself tells of an edit that it applies.
    if not summary.applied and summary.fusions == 0 then
      require('fuselight.message').info(nothing)
    end
  end)
end

--- Applies every fusion of the classes allowed in the current buffer. It is one undo step, and is not written.
---@param opts? fuselight.FixOptions
function M.fix(opts)
  local bufnr = vim.api.nvim_get_current_buf()
  local client = require('fuselight.server').attached(bufnr)
  if client then
    local argument = { uri = vim.uri_from_bufnr(bufnr), allow = opts and opts.allow }
    fix(client, bufnr, 'fuselight.fixFile', argument, 'nothing to fix in this file')
  end
end

--- Applies every fusion of the classes allowed in all Python files of the workspace, the closed ones too, which are
--- opened for it. Nothing is written.
---@param opts? fuselight.FixOptions
function M.fix_workspace(opts)
  local bufnr = vim.api.nvim_get_current_buf()
  local client = require('fuselight.server').of_workspace(bufnr)
  if client then
    local argument = { allow = opts and opts.allow }
    -- A table without any key would be an empty list.
    argument = next(argument) and argument or vim.empty_dict()
    fix(client, bufnr, 'fuselight.fixWorkspace', argument, 'nothing to fix in the workspace')
  end
end

--- Shows the graph of the class or function under the cursor in a scratch window.
---@param format? 'mermaid'|'svg'
function M.graph(format)
  require('fuselight.graph').show(format or 'mermaid')
end

--- Shows an edit as a diff, and applies it if told so.
---@param opts? fuselight.PreviewOptions
function M.preview(opts)
  require('fuselight.preview').open(opts or {})
end

--- Opens Neovim's log of language servers, where the server's own messages are, at its end.
function M.log()
  local path = vim.lsp.get_log_path()
  if not vim.uv.fs_stat(path) then
    return require('fuselight.message').warn(('nothing was logged yet in %s'):format(path))
  end
  vim.cmd.split({ args = { vim.fn.fnameescape(path) } })
  vim.bo.readonly = true
  vim.bo.autoread = true
  vim.cmd.normal({ 'G', bang = true })
end

return M
