-- What the sessions in Neovim share. Each is run by test_editors_neovim.py:
--   nvim --clean -u NONE -l SESSION RUNTIME DIRECTORY SERVER...
-- RUNTIME is editors/neovim, DIRECTORY is where the project is made, SERVER the command of the server.

local M = {}

M.runtime, M.directory = arg[1], arg[2]
M.server = vim.list_slice(arg, 3)

local failures = 0

function M.check(name, body)
  local ok, why = xpcall(body, debug.traceback)
  failures = failures + (ok and 0 or 1)
  -- Neovim's own messages leave the cursor in the middle of a line.
  io.stdout:write('\n' .. (ok and 'ok ' or 'not ok ') .. name .. (ok and '' or '\n' .. tostring(why)) .. '\n')
end

function M.finish()
  os.exit(failures == 0 and 0 or 1)
end

function M.equal(expected, found)
  assert(vim.deep_equal(expected, found), vim.inspect(expected) .. '\nexpected, but found\n' .. vim.inspect(found))
end

--- Waits for a condition while the event loop runs; gives what it was waiting for.
function M.eventually(what, condition)
  local value
  local came = vim.wait(10000, function()
    value = condition()
    return value
  end, 10)
  assert(came, 'never came: ' .. what)
  return value
end

function M.text(buffer)
  return vim.api.nvim_buf_get_lines(buffer or 0, 0, -1, true)
end

--- Types keys as the user does, mappings included.
function M.press(keys)
  vim.api.nvim_feedkeys(vim.keycode(keys), 'mx', false)
end

function M.attached()
  return M.eventually('the client', function()
    return vim.lsp.get_clients({ bufnr = 0, name = 'fuselight' })[1]
  end)
end

function M.diagnostics(count)
  return M.eventually(count .. ' diagnostics', function()
    local found = vim.diagnostic.get(0)
    return #found == count and found
  end)
end

--- Puts what the user is told in a list, instead of on the screen.
function M.record_messages()
  local told = {}
  vim.notify = function(text, level)
    table.insert(told, { text = text, level = level })
  end
  vim.notify_once = vim.notify
  return told
end

-- A wide character in front of the finding shows whether both count columns alike.
M.model = {
  'import torch',
  'import torch.nn.functional as F',
  '',
  '',
  'def gate(x):',
  '    return len("é漢😀") + x * torch.sigmoid(x)',
  '',
  '',
  'def door(y):',
  '    return y * torch.sigmoid(y)',
}
M.gate_fused = vim.deepcopy(M.model)
M.gate_fused[6] = '    return len("é漢😀") + F.silu(x)'
M.all_fused = vim.deepcopy(M.gate_fused)
M.all_fused[10] = '    return F.silu(y)'

--- Writes a model file of the project, and gives its path.
function M.write_model(name, lines)
  vim.fn.writefile({}, vim.fs.joinpath(M.directory, 'pyproject.toml'))
  local path = vim.fs.joinpath(M.directory, name)
  vim.fn.writefile(lines or M.model, path)
  return path
end

return M
