# pip, from an index that wants Basic credentials. $4 is the Python that has it.
set -eu
base=${1%/v1} evil=$2 python=$4
index() { echo "$1" | sed 's|//|//me:%7Bsecrets.crm.apiKey%7D@|'; }
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_RETRIES=0
"$python" -m pip download -q --no-deps -d got --index-url "$(index "$base")/simple/" tiny
ls got
# Only -vv shows even the number of a refusal.
"$python" -m pip download -vv --no-deps -d got --index-url "$(index "$evil")/simple/" tiny || test $? = 1
