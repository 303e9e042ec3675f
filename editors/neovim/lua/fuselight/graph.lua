--- The graph of a class, in a scratch window beside its source.

local scratch = require('fuselight.scratch')
local server = require('fuselight.server')

local M = {}

---@type table<integer, integer> the graph's buffer by that of the source
local shown = {}

--- The window of this tab page that shows the graph of a source, opened where there is none.
---@param source integer
---@param window integer beside which to open it
---@return integer
local function window_of(source, window)
  local buffer = shown[source]
  if buffer and vim.api.nvim_buf_is_valid(buffer) then
    for _, each in ipairs(vim.api.nvim_tabpage_list_wins(0)) do
      if vim.api.nvim_win_get_buf(each) == buffer then
        return each
      end
    end
  end
  buffer = scratch.create()
  vim.keymap.set('n', 'q', '<Cmd>close<CR>', { buffer = buffer, nowait = true, desc = 'Close the graph' })
  shown[source] = buffer
  return vim.api.nvim_open_win(buffer, false, { split = 'right', win = window })
end

---@param format 'mermaid'|'svg'
function M.show(format)
  local source, window = vim.api.nvim_get_current_buf(), vim.api.nvim_get_current_win()
  local client = server.attached(source)
  if not client then
    return
  end
  local place = vim.lsp.util.make_position_params(window, client.offset_encoding)
  local argument = { uri = place.textDocument.uri, position = place.position, format = format }
  server.execute(client, source, 'fuselight.showGraph', argument, function(text)
    local opened = window_of(source, vim.api.nvim_win_is_valid(window) and window or 0)
    scratch.fill(vim.api.nvim_win_get_buf(opened), vim.split(text, '\n', { trimempty = true }), format)
    vim.wo[opened][0].wrap = false
    -- Whoever has gone on to another window meanwhile stays there.
    if vim.api.nvim_get_current_win() == window then
      vim.api.nvim_set_current_win(opened)
    end
  end)
end

return M
