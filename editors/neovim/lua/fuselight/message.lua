--- Messages to the user, of one line that fits: a longer one would hold Neovim up until a key is pressed.

local M = {}

---@param text string
---@param level vim.log.levels
local function notify(text, level)
  local line = ('fuselight: ' .. text):gsub('%s+', ' ')
  if vim.fn.strdisplaywidth(line) > vim.v.echospace then
    vim.lsp.log.warn('fuselight', line)
    line = vim.fn.strcharpart(line, 0, math.max(vim.v.echospace - 1, 1)) .. '…'
  end
  vim.notify(line, level)
end

---@param text string
function M.info(text)
  notify(text, vim.log.levels.INFO)
end

---@param text string
function M.warn(text)
  notify(text, vim.log.levels.WARN)
end

return M
