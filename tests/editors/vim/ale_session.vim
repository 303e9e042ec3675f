" A session with ALE, run by test_editors_vim.py in the directory of the project:
"   vim -i NONE -Nu ale_session.vim -es -V1 < ANSWERS
" ANSWERS are what is typed at ALE's prompts, $PAGE the page's blocks, $RUNTIME where the linter's file is. The end of the
" input ends Vim with status 0 in the middle of a script: only the last line says that it came so far.

set nocompatible hidden noswapfile encoding=utf-8
let &runtimepath = $RUNTIME . ',/usr/share/vim-ale,' . &runtimepath
let g:ale_linters = {'python': ['fuselight']}
let g:ale_lint_delay = 0
filetype plugin on
runtime plugin/ale.vim

let s:model = [
\   'import torch',
\   'import torch.nn.functional as F',
\   '',
\   '',
\   'def gate(x):',
\   '    return len("é漢😀") + x * torch.sigmoid(x)',
\   '',
\   '',
\   'def door(y):',
\   '    return y * torch.sigmoid(y)',
\]
let s:gate_fused = copy(s:model)
let s:gate_fused[5] = '    return len("é漢😀") + F.silu(x)'
let s:all_fused = copy(s:gate_fused)
let s:all_fused[9] = '    return F.silu(y)'

function! s:Fail(why) abort
  echo a:why . "\n" . string(getline(1, '$')) . "\n" . string(ale#engine#GetLoclist(bufnr(''))) . "\n"
  cquit!
endfunction

function! s:Equal(expected, found) abort
  if a:expected != a:found
    call s:Fail(string(a:expected) . "\nexpected, but found\n" . string(a:found))
  endif
endfunction

function! s:Eventually(what, condition) abort
  for _ in range(600)
    if a:condition()
      return
    endif
    sleep 20m
  endfor
  call s:Fail('never came: ' . a:what)
endfunction

function! s:Findings(count) abort
  call ale#Queue(0)
  call s:Eventually(a:count . ' findings', {-> len(ale#engine#GetLoclist(bufnr(''))) == a:count})
  return ale#engine#GetLoclist(bufnr(''))
endfunction

function! s:Session() abort
  call writefile(s:model, 'a model.py')
  edit a\ model.py
  let l:found = s:Findings(2)
  call s:Equal([6, 'FUS401'], [l:found[0].lnum, l:found[0].code])
  echo "findings\n"

  " The first answer: its rewrite.
  call cursor(6, stridx(s:model[5], 'torch') + 1)
  ALECodeAction
  call s:Eventually('the edit', {-> getline(6) !=# s:model[5]})
  call s:Equal(s:gate_fused, getline(1, '$'))
  write
  call s:Equal(s:gate_fused, readfile('a model.py'))
  call s:Findings(1)
  echo "action\n"

  let g:fuselight_settings = {'ignore': ['FUS4']}
  call s:Findings(0)
  let g:fuselight_settings = {}
  call s:Findings(1)
  echo "settings\n"

  source $PAGE
  call append(0, '# unsaved')
  write
  call s:Eventually('the file fixed on save', {-> readfile('a model.py') == ['# unsaved'] + s:all_fused})
  call s:Equal(['# unsaved'] + s:all_fused, getline(1, '$'))
  echo "save\n"
endfunction

try
  call s:Session()
catch
  call s:Fail(v:throwpoint . ': ' . v:exception)
endtry
echo "all passed\n"
qall!
