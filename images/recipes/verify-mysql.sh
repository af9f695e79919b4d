# Boots the server of an image in the way that Huker runs it (own user, read-only root file system, no capabilities) and says for
# each check whether it holds: "check<TAB>name<TAB>ok|failed<TAB>detail".
set -u
template=/usr/share/huker/template
data=/var/lib/mysql/data
sock=/tmp/mysqld.sock
log=/tmp/mysqld.log
check() { printf 'check\t%s\t%s\t%s\n' "$1" "$2" "$(printf '%s' "${3:-}" | tr '\t\n' '  ')"; }
sql() { mysql --no-defaults -uroot --protocol=SOCKET --socket=$sock -N -r "$@" 2>&1; }
last() { tail -n 5 $log 2>/dev/null; }

[ "$(id -u):$(id -g)" = "$HUKER_UID:$HUKER_GID" ] && check user ok "$(id -u):$(id -g)" || check user failed "runs as $(id -u):$(id -g), not $HUKER_UID:$HUKER_GID"

if touch /huker-verify 2>/dev/null; then check hardened failed "the root file system can be written"; else check hardened ok; fi

missing=
for f in "$(command -v mysqld)" "$(command -v mysql)" /usr/lib/mysql/plugin/*.so /usr/lib64/mysql/plugin/*.so; do
	[ -e "$f" ] || continue
	case $(ldd "$f" 2>/dev/null) in *'not found'*) missing="$missing $f" ;; esac
done
[ -z "$missing" ] && check libraries ok || check libraries failed "libraries are missing for$missing"

foreign=$(cd $template 2>/dev/null && ls -d auto.cnf binlog.* ./*.pem 2>/dev/null | tr '\n' ' ')
if [ ! -e $template/mysql.ibd ]; then
	check template failed "there is no data directory in $template"
elif [ -n "$foreign" ]; then
	check template failed "it has what belongs to one server only: $foreign"
else
	check template ok "$(du -sm $template | cut -f1) MB"
fi

cp -R $template $data || true
mysqld --no-defaults --datadir=$data --secure-file-priv=NULL --skip-networking --mysqlx=OFF --socket=$sock --pid-file=/tmp/mysqld.pid \
	--auto-generate-certs=OFF --caching-sha2-password-auto-generate-rsa-keys=OFF --plugin-load-add="$HUKER_LIBRARIES" >$log 2>&1 &
server=$!
tries=0
started=failed
while [ $tries -lt 600 ]; do
	if sql -e 'DO 1' >/dev/null; then
		started=ok
		break
	fi
	kill -0 $server 2>/dev/null || break
	tries=$((tries + 1))
	sleep 0.1
done
if [ $started != ok ]; then
	check starts failed "$(last)"
	exit 0
fi
check starts ok

version=$(sql -e 'SELECT @@innodb_version')
[ "$version" = "$HUKER_VERSION" ] && check version ok "$version" || check version failed "the server is $version, the image says $HUKER_VERSION"

for plugin in $(echo "$HUKER_PLUGINS" | tr ',' ' '); do
	status=$(sql -e "SELECT plugin_status FROM information_schema.plugins WHERE plugin_name='$plugin'")
	[ "$status" = ACTIVE ] && check "plugin $plugin" ok || check "plugin $plugin" failed "${status:-it does not load}: $(grep -i "plugin" $log | tail -n 2)"
done
semisync=$(sql -e 'SET GLOBAL rpl_semi_sync_source_enabled=1; SELECT @@rpl_semi_sync_source_wait_point; SET GLOBAL rpl_semi_sync_source_enabled=0')
[ "$semisync" = AFTER_SYNC ] && check semi-sync ok || check semi-sync failed "$semisync"
cloned=$(sql -e "CLONE LOCAL DATA DIRECTORY = '/var/lib/mysql/clone'")
[ -z "$cloned" ] && [ -e /var/lib/mysql/clone/mysql.ibd ] && check clone ok || check clone failed "$cloned"

accounts=$(sql -e "SELECT GROUP_CONCAT(user,'@',host) FROM mysql.user WHERE account_locked='N'")
[ "$accounts" = root@localhost ] && check accounts ok || check accounts failed "open accounts: $accounts"

# Transactions of its own would be foreign to any primary that it is to follow.
gtids=$(sql -e "SELECT CONCAT(@@GLOBAL.gtid_executed, (SELECT COUNT(*) FROM mysql.gtid_executed))")
[ "$gtids" = 0 ] && check "no transactions" ok || check "no transactions" failed "$gtids"

zones=$(sql -e 'SELECT COUNT(*) FROM mysql.time_zone_name')
zone=$(sql -e "SELECT CONVERT_TZ('2026-01-01 00:00:00','UTC','Europe/Berlin')")
if [ "$zones" != "$HUKER_ZONES" ]; then
	check "time zones" failed "$zones are known, the image says $HUKER_ZONES"
elif [ "$zones" != 0 ] && [ "$zone" != "2026-01-01 01:00:00" ]; then
	check "time zones" failed "Europe/Berlin is unknown: $zone"
else
	check "time zones" ok "$zones"
fi

sql -e SHUTDOWN >/dev/null
tries=0
while kill -0 $server 2>/dev/null && [ $tries -lt 600 ]; do
	tries=$((tries + 1))
	sleep 0.1
done
if kill -0 $server 2>/dev/null; then
	check shutdown failed "it still runs after 60 s"
elif wait $server && grep -q 'Shutdown complete' $log; then
	check shutdown ok
else
	check shutdown failed "$(last)"
fi
