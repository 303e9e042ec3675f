if vim.g.loaded_fuselight then
  return
end
vim.g.loaded_fuselight = true

if vim.fn.has('nvim-0.11') == 0 then
  vim.api.nvim_echo({ { 'fuselight: Neovim 0.11 or newer is needed', 'WarningMsg' } }, true, {})
  return
end

vim.lsp.enable('fuselight')

vim.api.nvim_create_autocmd('FileType', {
  pattern = 'python',
  once = true,
  desc = 'Tell of a server that is missing, of which Neovim tells its log only',
  callback = function()
    require('fuselight.server').tell_if_missing()
  end,
})

vim.api.nvim_create_user_command('Fuselight', function(call)
  require('fuselight.command').run(call)
end, {
  nargs = '+',
  range = true,
  desc = 'Fix a file or the workspace, preview an edit, show the graph of a class, open the log',
  complete = function(...)
    return require('fuselight.command').complete(...)
  end,
})
