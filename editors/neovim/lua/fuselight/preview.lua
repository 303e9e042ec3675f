--- A code action as a diff, before it is applied.

local edits = require('fuselight.edits')
local message = require('fuselight.message')
local scratch = require('fuselight.scratch')
local server = require('fuselight.server')

local M = {}

---@class fuselight.PreviewOptions
---@field only? string[] kinds of actions, as of |vim.lsp.buf.code_action()|
---@field range? { [1]: integer, [2]: integer } the first and the last line, instead of the cursor

---@class fuselight.Place
---@field client vim.lsp.Client
---@field bufnr integer
---@field window integer

---@param place fuselight.Place
---@param opts fuselight.PreviewOptions
---@return table
local function action_params(place, opts)
  local encoding = place.client.offset_encoding
  local params = vim.lsp.util.make_range_params(place.window, encoding)
  if opts.range then
    local first, last = unpack(opts.range)
    local width = #vim.api.nvim_buf_get_lines(place.bufnr, last - 1, last, true)[1]
    params = vim.lsp.util.make_given_range_params({ first, 0 }, { last, width }, place.bufnr, encoding)
  end
  params.context = { only = opts.only, diagnostics = {}, triggerKind = 1 }
  return params
end

--- The size and place of a window in the middle of the editor that shows as much of the lines as fits.
---@param lines string[]
---@param title string
---@return vim.api.keyset.win_config
local function layout(lines, title)
  local width = vim.fn.strdisplaywidth(title) + 2
  for _, line in ipairs(lines) do
    width = math.max(width, vim.fn.strdisplaywidth(line))
  end
  width = math.max(math.min(width, vim.o.columns - 4), 1)
  local height = math.max(math.min(#lines, vim.o.lines - vim.o.cmdheight - 4), 1)
  return {
    relative = 'editor',
    width = width,
    height = height,
    row = math.max(math.floor((vim.o.lines - vim.o.cmdheight - height) / 2) - 1, 0),
    col = math.max(math.floor((vim.o.columns - width) / 2) - 1, 0),
    style = 'minimal',
    border = vim.o.winborder == '' and 'rounded' or nil,
    title = title,
    footer = '<CR>, y: apply   q, <Esc>: leave',
  }
end

--- Opens the diff; `apply` is called once, when the user says so, back in the window that they came from.
---@param lines string[]
---@param title string
---@param apply fun()
local function show(lines, title, apply)
  local buffer = scratch.create()
  scratch.fill(buffer, lines, 'diff')
  local window = vim.api.nvim_open_win(buffer, true, layout(lines, title))
  vim.wo[window][0].wrap = false

  local function close()
    if vim.api.nvim_win_is_valid(window) then
      vim.api.nvim_win_close(window, true)
    end
  end

  local function map(keys, description, action)
    for _, key in ipairs(keys) do
      vim.keymap.set('n', key, action, { buffer = buffer, nowait = true, desc = description })
    end
  end
  map({ '<CR>', 'y' }, 'Apply the edit', function()
    close()
    apply()
  end)
  map({ 'q', '<Esc>' }, 'Leave the text as it is', close)
  vim.api.nvim_create_autocmd('WinLeave', { buffer = buffer, once = true, callback = vim.schedule_wrap(close) })
end

---@param place fuselight.Place
---@param action lsp.CodeAction
local function preview(place, action)
  local encoding = place.client.offset_encoding
  local diff = edits.diff(action.edit, encoding)
  show(diff.lines, action.title, function()
    if not edits.is_current(diff) then
      return message.warn('the text has changed since: nothing was applied')
    end
    vim.lsp.util.apply_workspace_edit(action.edit, encoding)
  end)
end

---@param place fuselight.Place
---@param action lsp.CodeAction
local function resolve(place, action)
  if action.edit then
    return preview(place, action)
  end
  server.request(place.client, place.bufnr, 'codeAction/resolve', action, function(resolved)
    preview(place, resolved)
  end)
end

---@param opts fuselight.PreviewOptions
function M.open(opts)
  local bufnr, window = vim.api.nvim_get_current_buf(), vim.api.nvim_get_current_win()
  local client = server.attached(bufnr)
  if not client then
    return
  end
  local place = { client = client, bufnr = bufnr, window = window }
  server.request(client, bufnr, 'textDocument/codeAction', action_params(place, opts), function(found)
    if #(found or {}) == 0 then
      return message.info('nothing to preview here')
    end
    if #found == 1 then
      return resolve(place, found[1])
    end
    local function title(action)
      return action.title
    end
    local choosing = { prompt = 'Preview:', kind = 'codeaction', format_item = title }
    vim.ui.select(found, choosing, function(action)
      if action then
        resolve(place, action)
      end
    end)
  end)
end

return M
