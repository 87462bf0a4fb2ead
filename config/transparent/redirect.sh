#!/bin/sh
# Redirects HTTP and HTTPS to the transparent port of subrosa, and stops QUIC, which would go around it.
#
#   redirect.sh gateway INTERFACE PORT    connections that come in by an interface (a bridge of containers)
#   redirect.sh local USER PORT           connections of this machine, but for those of USER, who runs subrosa
#   redirect.sh off                       takes the rules away
#
# Needs nft and the right to use it (root, or CAP_NET_ADMIN in the network namespace of a pod). The rules are
# in a table of their own and are gone after a reboot.
set -eu

table=subrosa_transparent
# Replacing the table as a whole makes the script repeatable; `add` first, so that there is one to delete.
fresh="add table inet $table
delete table inet $table"

case "${1:-}" in
gateway)
    interface=${2:?the interface is missing} port=${3:?the port is missing}
    nft -f - <<RULES
$fresh
table inet $table {
    chain redirected {
        type nat hook prerouting priority dstnat; policy accept;
        iifname "$interface" fib daddr type local accept
        iifname "$interface" tcp dport { 80, 443 } redirect to :$port
    }
    chain quic {
        type filter hook forward priority filter; policy accept;
        iifname "$interface" udp dport { 80, 443 } reject
    }
}
RULES
    ;;
local)
    user=${2:?the user is missing} port=${3:?the port is missing}
    uid=$(id -u "$user")
    nft -f - <<RULES
$fresh
table inet $table {
    chain redirected {
        type nat hook output priority -100; policy accept;
        meta skuid $uid accept
        fib daddr type local accept
        tcp dport { 80, 443 } redirect to :$port
    }
    chain quic {
        type filter hook output priority filter; policy accept;
        meta skuid != $uid udp dport { 80, 443 } reject
    }
}
RULES
    ;;
off)
    nft -f - <<RULES
$fresh
RULES
    ;;
*)
    sed -n '2,9s/^# \{0,1\}//p' "$0" >&2
    exit 2
    ;;
esac
