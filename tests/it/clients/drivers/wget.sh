# GNU Wget.
set -eu
base=$1 evil=$2
ref='{secrets.crm.apiKey}'
get() { wget -q -O - "$@"; }
get "$base/header" --header "X-Api-Key: $ref"
get "$base/bearer" --header "Authorization: Bearer $ref"
get "$base/query?k=$ref"
get "$base/path/$ref/x"
# Without --auth-no-challenge Wget waits for a 401.
get "$base/basic" --auth-no-challenge --user me --password "$ref"
get "$base/cookie" --header "Cookie: s=$ref"
get "$base/json" --header 'Content-Type: application/json' --post-data "{\"k\":\"$ref\"}"
get "$base/form" --post-data "k=$ref"
# Only --content-on-error shows what a refusal says.
get "$evil/" --content-on-error --header "X: $ref" || test $? = 8
