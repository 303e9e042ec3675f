--- A workspace edit as text: what it would change, before it does.

local M = {}

--- The edits of each document, whichever of the protocol's two forms they have.
---@param edit lsp.WorkspaceEdit
---@return { uri: string, edits: lsp.TextEdit[] }[]
local function by_document(edit)
  local documents = {}
  for _, change in ipairs(edit.documentChanges or {}) do
    table.insert(documents, { uri = change.textDocument.uri, edits = change.edits })
  end
  for uri, edits in vim.spairs(edit.documentChanges and {} or edit.changes or {}) do
    table.insert(documents, { uri = uri, edits = edits })
  end
  return documents
end

--- The lines of a buffer once edits are applied, which happens in a copy of it.
---@param bufnr integer
---@param edits lsp.TextEdit[]
---@param encoding 'utf-8'|'utf-16'|'utf-32'
---@return string[]
local function edited(bufnr, edits, encoding)
  local copy = vim.api.nvim_create_buf(false, true)
  vim.api.nvim_buf_set_lines(copy, 0, -1, true, vim.api.nvim_buf_get_lines(bufnr, 0, -1, true))
  -- Neovim's own function, so that what is shown is what will be done; it writes in the edits that it is given.
  vim.lsp.util.apply_text_edits(vim.deepcopy(edits), copy, encoding)
  local lines = vim.api.nvim_buf_get_lines(copy, 0, -1, true)
  vim.api.nvim_buf_delete(copy, { force = true })
  return lines
end

---@class fuselight.Diff
---@field lines string[] a unified diff
---@field ticks table<integer, integer> the |b:changedtick| that it was made for, of each buffer

---@param edit lsp.WorkspaceEdit
---@param encoding 'utf-8'|'utf-16'|'utf-32'
---@return fuselight.Diff
function M.diff(edit, encoding)
  local lines, ticks = {}, {} ---@type string[], table<integer, integer>
  for _, document in ipairs(by_document(edit)) do
    local bufnr = vim.uri_to_bufnr(document.uri)
    vim.fn.bufload(bufnr)
    ticks[bufnr] = vim.b[bufnr].changedtick
    local before = vim.api.nvim_buf_get_lines(bufnr, 0, -1, true)
    local after = edited(bufnr, document.edits, encoding)
    local name = vim.fn.fnamemodify(vim.api.nvim_buf_get_name(bufnr), ':~:.')
    vim.list_extend(lines, { '--- ' .. name, '+++ ' .. name })
    local diff = vim.diff(table.concat(before, '\n') .. '\n', table.concat(after, '\n') .. '\n', { ctxlen = 3 })
    vim.list_extend(lines, vim.split(diff --[[@as string]], '\n', { trimempty = true }))
  end
  return { lines = lines, ticks = ticks }
end

--- Whether no buffer has changed since.
---@param diff fuselight.Diff
---@return boolean
function M.is_current(diff)
  for bufnr, tick in pairs(diff.ticks) do
    if not vim.api.nvim_buf_is_loaded(bufnr) or vim.b[bufnr].changedtick ~= tick then
      return false
    end
  end
  return true
end

return M
