# curl, in the version of HTTP that the fourth argument names.
set -eu
base=$1 evil=$2 address=$3 version=$4
ref='{secrets.crm.apiKey}'
# -g, because curl takes braces in a URL for a list of its own.
get() { curl -g -sS --fail-with-body "$version" "$@"; }
get "$base/header" -H "X-Api-Key: $ref"
get "$base/bearer" -H "Authorization: Bearer $ref"
get "$base/query?k=$ref"
get "$base/path/$ref/x"
get "$base/basic" -u "me:$ref"
get "$base/cookie" -b "s=$ref"
get "$base/json" --json "{\"k\":\"$ref\"}"
get "$base/form" --data-urlencode "k=$ref"
get "$base/multipart" -F "k=$ref"
get "$address/address" -H 'X-Api-Key: {secrets.open}'
echo; echo "version $(curl -g -sS "$version" -o /dev/null -w '%{http_version}' "$base/version")"
# Only --fail-with-body shows what a refusal says.
get "$evil/" -H "X: $ref" || test $? = 22
