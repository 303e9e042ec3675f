--- `:Fuselight`: its subcommands, and the completion of them and of their arguments.

local M = {}

local CLASSES = { 'all', 'checkpoint', 'numerics', 'breaking', 'inference' }

---@class fuselight.Subcommand
---@field run fun(words: string[], call: vim.api.keyset.create_user_command.command_args)
---@field complete? fun(before: string[], lead: string): string[] the words that may follow those before

--- Takes `--allow CLASS,...` or `--allow=CLASS,...` out of the words.
---@param words string[]
---@return string[]? rest, string[]? allow nothing where a class is missing or unknown
local function parse_allow(words)
  local rest, allow = {}, nil ---@type string[], string[]?
  local index = 1
  while index <= #words do
    local value = words[index]:match('^%-%-allow=(.*)$')
    if words[index] == '--allow' then
      index = index + 1
      value = words[index] or ''
    end
    if value then
      allow = vim.list_extend(allow or {}, vim.split(value, ',', { plain = true, trimempty = true }))
    else
      table.insert(rest, words[index])
    end
    index = index + 1
  end
  for _, class in ipairs(allow or {}) do
    if class ~= 'exact' and not vim.list_contains(CLASSES, class) then
      return nil
    end
  end
  if allow and #allow == 0 then
    return nil
  end
  return rest, allow
end

---@param usage string
local function explain(usage)
  require('fuselight.message').warn(('usage is :Fuselight %s'):format(usage))
end

--- Words of a list behind the last comma of `lead`, with what stands before it.
---@param lead string
---@return string[]
local function classes_behind(lead)
  local before = lead:match('^.*,') or lead:match('^%-%-allow=') or ''
  return vim.tbl_map(function(class)
    return before .. class
  end, CLASSES)
end

---@type table<string, fuselight.Subcommand>
local subcommands = {
  fix = {
    run = function(words)
      local rest, allow = parse_allow(words)
      local where = rest and rest[1] or 'file'
      if not rest or #rest > 1 or (where ~= 'file' and where ~= 'workspace') then
        return explain('fix [workspace] [--allow CLASS,...]')
      end
      local fix = where == 'workspace' and require('fuselight').fix_workspace or require('fuselight').fix
      fix({ allow = allow })
    end,
    complete = function(before, lead)
      if before[#before] == '--allow' or vim.startswith(lead, '--allow=') then
        return classes_behind(lead)
      end
      return #before == 0 and { 'workspace', '--allow' } or { '--allow' }
    end,
  },
  preview = {
    run = function(words, call)
      if #words > 1 or (words[1] or 'file') ~= 'file' then
        return explain('preview [file]')
      end
      require('fuselight').preview({
        only = words[1] and { 'source.fixAll.fuselight' } or nil,
        range = call.range > 0 and { call.line1, call.line2 } or nil,
      })
    end,
    complete = function(before)
      return #before == 0 and { 'file' } or {}
    end,
  },
  graph = {
    run = function(words)
      if #words > 1 or not vim.list_contains({ 'mermaid', 'svg' }, words[1] or 'mermaid') then
        return explain('graph [mermaid|svg]')
      end
      require('fuselight').graph(words[1])
    end,
    complete = function(before)
      return #before == 0 and { 'mermaid', 'svg' } or {}
    end,
  },
  log = {
    run = function(words)
      if #words > 0 then
        return explain('log')
      end
      require('fuselight').log()
    end,
  },
}

---@param call vim.api.keyset.create_user_command.command_args
function M.run(call)
  local name, words = call.fargs[1], vim.list_slice(call.fargs, 2)
  local subcommand = subcommands[name]
  if not subcommand then
    return explain(table.concat(vim.fn.sort(vim.tbl_keys(subcommands)), '|'))
  end
  subcommand.run(words, call)
end

--- The candidates for the word that ends at the cursor.
---@param lead string
---@param line string
---@param cursor integer
---@return string[]
function M.complete(lead, line, cursor)
  local words = vim.split(line:sub(1, cursor - #lead), '%s+', { trimempty = true })
  -- The first word is `:Fuselight`, behind a range perhaps.
  local before = vim.list_slice(words, 2)
  local candidates = {}
  if #before == 0 then
    candidates = vim.fn.sort(vim.tbl_keys(subcommands))
  else
    local subcommand = subcommands[before[1]]
    if subcommand and subcommand.complete then
      candidates = subcommand.complete(vim.list_slice(before, 2), lead)
    end
  end
  return vim.tbl_filter(function(candidate)
    return vim.startswith(candidate, lead)
  end, candidates)
end

return M
