# Holds the network namespace of the switch.
set -eu
mkfifo "$1/never"
exec 3<>"$1/never"
echo ready
exec </dev/null >/dev/null 2>&1
while :; do
	read -r _ <&3 || true
done
