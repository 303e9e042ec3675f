---@brief
---
--- fuselight finds layer sequences in PyTorch, Flax NNX and Keras model code that one existing, faster or leaner call
--- can replace, and offers the rewrite as a code action.
---
--- Settings have the names of `[tool.fuselight]` in `pyproject.toml`, and win over it:
---
--- ```lua
--- vim.lsp.config('fuselight', { settings = { fuselight = { ignore = { 'FUS2' } } } })
--- ```

---@type vim.lsp.Config
return {
  cmd = { 'fuselight', 'server' },
  filetypes = { 'python' },
  root_markers = { 'pyproject.toml', 'ruff.toml', '.ruff.toml', '.git' },
  settings = {},
}
