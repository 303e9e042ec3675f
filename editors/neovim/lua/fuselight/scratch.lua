--- Buffers that show a text to read, and are gone with their window.

local M = {}

---@return integer
function M.create()
  local buffer = vim.api.nvim_create_buf(false, true)
  vim.bo[buffer].bufhidden = 'wipe'
  return buffer
end

--- Shows a text in place of what the buffer showed before.
---@param buffer integer
---@param lines string[]
---@param filetype string
function M.fill(buffer, lines, filetype)
  vim.bo[buffer].modifiable = true
  vim.api.nvim_buf_set_lines(buffer, 0, -1, true, lines)
  vim.bo[buffer].modifiable = false
  vim.bo[buffer].filetype = filetype
end

return M
